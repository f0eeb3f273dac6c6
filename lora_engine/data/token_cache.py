"""Tokenized rows on disk, each set under a hash of everything it depends on.

A file appears whole or not at all; checksums show a damaged one, which is made again. The folder
stays under a size: the sets used longest ago are removed. Small sets are read into memory, and if
the disk refuses, the next run tokenizes again and nothing else is lost; large ones need the disk
(`token_store`). Two things are never kept for the next run: rows into which the template writes the
date, and the work of a slow tokenizer, which cannot be hashed as a whole.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import logging
import os
import uuid
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_engine.data.cache_folder import CacheFolder
from lora_engine.data.class_labels import label_rows
from lora_engine.data.picked import Keep
from lora_engine.data.row_store import content_hash_of, is_large, row_numbers
from lora_engine.data.rows import Row
from lora_engine.data.said import kept, to_keep
from lora_engine.data.templates import chat_template_of
from lora_engine.data.token_store import StoredTokens, write_tokens
from lora_engine.data.tokenization import Tokenization, TokenizedRow, tokenize
from lora_engine.files import atomic_file

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)
VERSION = 5  # of what is written, and of what encoding makes of a row
REPORT = ("without_answer", "lost_answer", "cut")  # numbers of rows
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True)
class TokenCache:
    """A folder of tokenized sets, at most `max_bytes` in all."""

    folder: Path
    max_bytes: int

    def tokenize(
        self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> Tokenization:
        """As `tokenization.tokenize`, and raises as it does."""
        template = chat_template_of(tokenizer).source
        has_date = "strftime_now" in template and any(row.messages for row in rows)
        is_kept = tokenizer.is_fast and not has_date
        if is_large(rows):
            key = cache_key(rows, tokenizer, max_length) if is_kept else None
            return self._stored(key, lambda keep: tokenize(rows, tokenizer, max_length, keep))
        if not is_kept:
            return tokenize(rows, tokenizer, max_length)
        key = cache_key(rows, tokenizer, max_length)
        return self._cached(key, lambda: tokenize(rows, tokenizer, max_length))

    def label_rows(
        self,
        rows: Sequence[Row],
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        labels: Sequence[str],
    ) -> Tokenization:
        """As `class_labels.label_rows`, and raises as it does."""
        is_kept = tokenizer.is_fast
        if is_large(rows):
            key = cache_key(rows, tokenizer, max_length, labels) if is_kept else None
            make = functools.partial(label_rows, rows, tokenizer, max_length, labels)
            return self._stored(key, make)
        if not is_kept:
            return label_rows(rows, tokenizer, max_length, labels)
        key = cache_key(rows, tokenizer, max_length, labels)
        return self._cached(key, lambda: label_rows(rows, tokenizer, max_length, labels))

    def _cached(self, key: str, make: Callable[[], Tokenization]) -> Tokenization:
        """The set under this key, read if it is there, else made and stored."""
        path = self.folder / f"{key}.npz"
        found = _read(path)
        if found is not None:
            log.info("rows as tokens from the cache: %s", path.name)
            return found
        made = make()
        try:
            self._store(path, made)
        except OSError as error:
            log.warning("rows as tokens are not kept for the next run: %s", error)
        return made

    def _stored(
        self, key: str | None, make: Callable[[Keep[TokenizedRow]], Tokenization]
    ) -> Tokenization:
        """A large set, made and written row by row, or found. key: None for one that is not kept.

        Raises EngineError where the disk refuses.
        """
        folder = CacheFolder(self.folder, self.max_bytes)
        name = f"{key or uuid.uuid4().hex}.tokens"
        entry = folder.open_entry(name)
        if entry is None:
            with folder.new_entry(name) as new:

                def keep(rows: Iterable[TokenizedRow]) -> Sequence[TokenizedRow]:
                    write_tokens(new, rows)
                    return ()

                new.report = _report_of(make(keep))
            entry = folder.take_entry(name, is_kept=key is not None)
        else:
            log.info("rows as tokens from the cache: %s", name)
        return _tokenization(StoredTokens(entry), entry.report)

    def _store(self, path: Path, made: Tokenization) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_file(path) as file:
                _write(file, made)
                if file.tell() > self.max_bytes:
                    raise OSError(errno.EFBIG, f"the cache has room for {self.max_bytes:,} bytes")
        finally:
            CacheFolder(self.folder, self.max_bytes).remove_oldest()


def cache_key(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    labels: Sequence[str] = (),
) -> str:
    """A hash of the rows and their numbers, the tokenizer, the template, the limit and classes.

    Format and columns are in the rows: two ways to read the same rows give the same tokens.
    """
    template = chat_template_of(tokenizer)
    parts = [
        VERSION,
        content_hash_of(rows),
        _digest(row_numbers(rows)) if is_large(rows) else row_numbers(rows).tolist(),
        tokenizer.backend_tokenizer.to_str(),
        sorted(tokenizer.get_added_vocab()),
        [template.name, template.source, sorted(template.variables.items())],
        [tokenizer.bos_token_id, tokenizer.eos_token_id, max_length],
        list(labels),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _digest(numbers: np.ndarray) -> str:
    return hashlib.sha256(numbers.tobytes()).hexdigest()


def _report_of(made: Tokenization) -> dict[str, Any]:
    return {
        "template": made.template,
        **{name: getattr(made, name) for name in REPORT},
        "warnings": [to_keep(one) for one in made.warnings],
    }


def _tokenization(rows: Sequence[TokenizedRow], report: dict[str, Any]) -> Tokenization:
    numbers = {name: tuple(report[name]) for name in REPORT}
    warnings = tuple(map(kept, report["warnings"]))
    return Tokenization(rows, report["template"], **numbers, warnings=warnings)


def _write(file, made: Tokenization) -> None:
    import numpy as np

    rows, report = made.rows, _report_of(made)
    np.savez(
        file,
        ends=np.cumsum([len(row.input_ids) for row in rows], dtype=np.int64),
        label_ends=np.cumsum([len(row.labels) for row in rows], dtype=np.int64),
        input_ids=_flat(row.input_ids for row in rows),
        labels=_flat(row.labels for row in rows),
        numbers=np.array([row.number for row in rows], np.int64),
        truncated=np.array([row.truncated for row in rows]),
        report=np.frombuffer(json.dumps(report).encode(), np.uint8),
    )


def _flat(parts) -> np.ndarray:
    import numpy as np

    return np.fromiter((token for part in parts for token in part), np.int32)


def _read(path: Path) -> Tokenization | None:
    """The set in a file; None where there is none, or a damaged one, which is removed."""
    import numpy as np

    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        report = json.loads(arrays["report"].tobytes())
        rows = _rows_in(arrays)
        os.utime(path)
        return _tokenization(rows, report)
    except UNREADABLE as error:
        log.warning("the cache's %s cannot be read and is made again: %s", path.name, error)
        path.unlink(missing_ok=True)
        return None


def _rows_in(arrays: dict[str, np.ndarray]) -> tuple[TokenizedRow, ...]:
    return tuple(
        map(
            TokenizedRow,
            arrays["numbers"].tolist(),
            _cut(arrays["input_ids"], arrays["ends"]),
            _cut(arrays["labels"], arrays["label_ends"]),
            arrays["truncated"].tolist(),
        )
    )


def _cut(flat: np.ndarray, ends: np.ndarray) -> list[tuple[int, ...]]:
    """The parts of a flat array that end where `ends` says: a row's tokens, or its labels."""
    values = flat.tolist()
    return [tuple(values[start:end]) for start, end in pairwise([0, *ends.tolist()])]
