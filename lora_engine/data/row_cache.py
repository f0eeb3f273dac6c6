"""Parsed sets kept for the next run: a large one's rows on disk, a small one's in memory.

A kept set is found again by the file's identity (size, times, place on the disk) and by how it was
read; what `datasets` of the hub gives is parsed anew each time. Knows nothing of how files are
read.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lora_engine.data.cache_folder import CacheFolder, Entry, NewEntry
from lora_engine.data.picked import Keep
from lora_engine.data.record_files import file_identity
from lora_engine.data.row_store import LAYOUT, StoredRows, write_rows
from lora_engine.data.rows import LARGE_CHARACTERS, LARGE_ROWS, Dataset, Row
from lora_engine.data.said import kept, to_keep

if TYPE_CHECKING:
    from lora_engine.settings import Settings

FRESH_S = 1.0
VERSION = 2  # of what parsing makes of a record, and of how it is kept


def set_key(path: Path, reading: Sequence[Any]) -> str | None:
    """A hash of a file's identity and of how it is read. Raises OSError.

    None for a file that was written this moment: the disk's clock is coarse, and writing the file
    once more could leave its times as they are.
    """
    status = path.stat()
    if time.time() - max(status.st_mtime, status.st_ctime) < FRESH_S:
        return None
    parts = [VERSION, LAYOUT, str(path.resolve()), file_identity(path), *reading]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class RowCache:
    """Where the rows of large sets lie."""

    folder: CacheFolder

    def dataset(self, key: str | None, make: Callable[[Keep[Row]], Dataset]) -> Dataset:
        """The set of this key, found or made. None: one that is not found again.

        make: given what is to hold the rows. Raises EngineError as `make` does, and where the disk
        refuses a large set.
        """
        name = f"{key or uuid4().hex}.rows"
        entry = self.folder.open_entry(name)
        if entry is not None:
            return _dataset_in(entry)
        new: list[NewEntry] = []
        with ExitStack() as stack:

            def keep(rows: Iterable[Row]) -> Sequence[Row]:
                rows = iter(rows)
                first, is_all = _first_of(rows)
                if is_all:
                    return tuple(first)
                entry = stack.enter_context(self.folder.new_entry(name))
                entry.report["content_hash"] = write_rows(entry, chain(first, rows))
                new.append(entry)
                return ()

            made = make(keep)
            for written in new:
                written.report["facts"] = {
                    "source": made.source,
                    "format": made.format,
                    "warnings": [to_keep(one) for one in made.warnings],
                    "notes": [to_keep(one) for one in made.notes],
                    "supervised": to_keep(made.supervised),
                }
        return _dataset_in(self.folder.take_entry(name, is_kept=key is not None)) if new else made


def row_cache(settings: Settings) -> RowCache:
    """The one beside the tokens."""
    return RowCache(CacheFolder(settings.token_cache_dir, settings.max_cache_mb * 1_000_000))


def _first_of(rows: Iterable[Row]) -> tuple[list[Row], bool]:
    """As many rows as are held in memory, and whether these are all."""
    first: list[Row] = []
    characters = 0
    for row in rows:
        first.append(row)
        characters += row.characters
        if len(first) > LARGE_ROWS or characters > LARGE_CHARACTERS:
            return first, False
    return first, True


def _dataset_in(entry: Entry) -> Dataset:
    facts, content_hash = entry.report["facts"], entry.report["content_hash"]
    return Dataset(
        source=facts["source"],
        format=facts["format"],
        rows=StoredRows(entry, content_hash),
        content_hash=content_hash,
        warnings=tuple(map(kept, facts["warnings"])),
        notes=tuple(map(kept, facts["notes"])),
        supervised=kept(facts["supervised"]),
    )
