"""Checks on answers: exact match, contains, valid JSON, a regular expression.

A regular expression can run for ever, so a child process matches all answers and is ended after two
seconds.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Literal

from lora_engine.errors import EngineError
from lora_engine.language import tr

Check = Literal["exact", "contains", "json", "regex"]
MAX_PATTERN = 1000
REGEX_TIMEOUT_S = 2.0
_SEARCH = (
    "import json, re, sys\n"
    "pattern, answers = json.load(sys.stdin)\n"
    "search = re.compile(pattern).search\n"
    "json.dump([search(answer) is not None for answer in answers], sys.stdout)\n"
)


def passes(check: Check, answers: Sequence[str], expected: str = "") -> list[bool]:
    """Whether each answer passes.

    exact: equal to `expected` except for space around and between words. contains: holds it,
    ignoring case. json: the whole answer is one JSON document. regex: `expected` is found.
    Raises EngineError for a pattern that is wrong, too long, or takes too long.
    """
    if check == "exact":
        return [_words(answer) == _words(expected) for answer in answers]
    if check == "contains":
        return [expected.casefold() in answer.casefold() for answer in answers]
    if check == "json":
        return [_is_json(answer) for answer in answers]
    return _found(expected, answers)


def _words(text: str) -> list[str]:
    return text.split()


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _found(pattern: str, answers: Sequence[str]) -> list[bool]:
    if len(pattern) > MAX_PATTERN:
        raise EngineError(
            tr(
                "The pattern has {count} characters; at most {max_pattern} are allowed.",
                count=f"{len(pattern):,}",
                max_pattern=f"{MAX_PATTERN:,}",
            ),
            tr("Use a shorter regular expression."),
        )
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise EngineError(
            tr(
                "{pattern} is no regular expression: {error}.",
                pattern=f"{pattern[:80]!r}",
                error=error,
            ),
            tr("Correct the pattern."),
        ) from None
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _SEARCH],
            input=json.dumps([pattern, list(answers)]).encode(),
            capture_output=True,
            env={},
            timeout=REGEX_TIMEOUT_S,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise EngineError(
            tr(
                "The pattern {pattern} takes more than {regex_timeout_s} s on these answers.",
                pattern=f"{pattern[:80]!r}",
                regex_timeout_s=f"{REGEX_TIMEOUT_S:g}",
            ),
            tr("Use a pattern without nested repetition."),
        ) from None
    return json.loads(done.stdout)
