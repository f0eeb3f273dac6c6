"""The tokenizer's files in a model folder as untrusted input, checked before anything loads them.

They are read and tried in a guarded process, once for every state of the files.
"""

from __future__ import annotations

import stat
from functools import lru_cache
from pathlib import Path

from lora_engine.errors import EngineError
from lora_engine.guard import OutOfBounds, run_guarded
from lora_engine.guarded.tokenizer_trial import (
    CONFIG_FILE,
    MAX_TEMPLATE_BYTES,
    REMEDY,
    TOKENIZER_FILE,
    try_tokenizer,
    unusable,
)
from lora_engine.language import language, tr

OBJECTS = (TOKENIZER_FILE, CONFIG_FILE, "special_tokens_map.json", "added_tokens.json")
VOCABULARIES = (
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
"""What older tokenizers are made from where there is no tokenizer.json."""
TEMPLATE_FILE, MORE_TEMPLATES = "chat_template.jinja", "additional_chat_templates"
MAX_BYTES = 128 << 20  # the largest published tokenizer.json has some 35 MB
MAX_VOCABULARY_BYTES = 32 << 20
TRIAL_SECONDS, TRIAL_MEMORY_BYTES = 4, 448 << 20
"""The largest published ones take 2 s and 360 MiB."""


def check_tokenizer_files(folder: Path) -> None:
    """Raises EngineError naming the file that is no tokenizer's, or that costs too much to use."""
    for name in VOCABULARIES:
        _size_and_time(folder / name, MAX_VOCABULARY_BYTES)
    for path in (folder / TEMPLATE_FILE, *(folder / MORE_TEMPLATES).glob("*.jinja")):
        _size_and_time(path, MAX_TEMPLATE_BYTES)
    states = {name: _size_and_time(folder / name, MAX_BYTES) for name in OBJECTS}
    there = tuple((name, *state) for name, state in states.items() if state is not None)
    try:
        fault = _fault(folder.resolve(), there, language()) if there else None
    except OutOfBounds as error:
        raise unusable(folder / there[0][0], str(error)) from None
    if fault:
        raise EngineError(*fault)


def _size_and_time(path: Path, most_bytes: int) -> tuple[int, int] | None:
    """What tells one state of a file from another; None where there is none.

    Raises EngineError for what is too large, or no plain file.
    """
    try:
        found = path.stat()
    except FileNotFoundError as error:
        if not path.is_symlink():
            return None
        why = str(error.strerror).lower()
    except OSError as error:
        why = str(error.strerror).lower()
    else:
        if not stat.S_ISREG(found.st_mode):
            why = tr("it is no plain file")
        elif found.st_size > most_bytes:
            size = most_bytes >> 20
            why = tr("it has more than {size} MiB, which no tokenizer's file has", size=size)
        else:
            return found.st_size, found.st_mtime_ns
    raise EngineError(tr("{path} cannot be read: {why}.", path=path, why=why), tr(REMEDY))


@lru_cache(maxsize=64)
def _fault(
    folder: Path, there: tuple[tuple[str, int, int], ...], _language: str
) -> tuple[str, str] | None:
    """Problem and remedy of the files there, None where they can be used.

    Their sizes and times and the language of the words are of the cache's key. Raises OutOfBounds,
    which is not kept: another time the machine may have less to do.
    """
    names = [name for name, _, _ in there]
    try:
        run_guarded(
            try_tokenizer,
            [str(folder), names],
            seconds=TRIAL_SECONDS,
            memory_bytes=TRIAL_MEMORY_BYTES,
            libraries=["tokenizers"],
        )
    except EngineError as error:
        return error.problem, error.remedy
    return None
