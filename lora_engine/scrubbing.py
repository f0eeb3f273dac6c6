"""Access tokens out of text. What a process says is written down and shown; a token must not be.

Known are the hub's tokens by their form, and what the environment's variables hold. Whoever makes
an error for the person, or writes a log, passes the text through `scrubbed`.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import Any, TextIO

SECRET_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
HIDDEN = "hf_…"
_FORM = re.compile(r"hf_[A-Za-z0-9]{20,}")
_SHORTEST = 8  # of a variable's value: a shorter one would take plain words with it


def scrubbed(text: str) -> str:
    """The text with `hf_…` in place of every token."""
    for name in SECRET_VARIABLES:
        value = os.environ.get(name, "").strip()
        if len(value) >= _SHORTEST:
            text = text.replace(value, HIDDEN)
    return _FORM.sub(HIDDEN, text)


def has_token(text: str) -> bool:
    """Whether a token stands in the text."""
    return scrubbed(text) != text


def scrub_output() -> None:
    """From here on, whatever this process prints or logs to its terminal has no token in it."""
    sys.stdout, sys.stderr = _Scrubbed(sys.stdout), _Scrubbed(sys.stderr)


class ScrubbedFormatter(logging.Formatter):
    """For a log file: the whole record without tokens, traceback and all."""

    def format(self, record: logging.LogRecord) -> str:
        return scrubbed(super().format(record))


class _Scrubbed:
    """A stream of text that writes everything scrubbed, and is the stream in all else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(scrubbed(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
