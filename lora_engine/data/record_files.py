"""From a file to raw records, with every bound checked on the way.

A record is what stands in one place of the file: a JSON value, a CSV record or a Parquet row as
a dictionary, a passage of a .txt file. What the columns mean is `formats`' question. A small file's
records are a list; a larger file is read anew each time they are gone through, so that its size is
no question of memory. One JSON document that is no array (objects over several lines) is read
whole. A file is what its content says: another kind than its name's is read (gzip, Parquet) or
refused by its own name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

from lora_engine.data.csv_rows import MAX_CELL_CHARACTERS, csv_rows
from lora_engine.data.json_rows import are_lines, is_array, json_array, json_lines, json_rows
from lora_engine.data.parquet_rows import is_parquet, is_small_parquet, parquet_rows
from lora_engine.data.passages import passages
from lora_engine.data.records import ReadAnew, Record
from lora_engine.data.text_file import TextBounds, TextFile
from lora_engine.errors import EngineError, NotFound
from lora_engine.foreign_files import conversion, name_archive, name_binary, name_text
from lora_engine.language import tr, translatable
from lora_engine.starter import DATASET_NAMES

MAX_FILE_BYTES = 64_000_000_000
"""Of a file read row by row, and of what it unpacks to."""
MAX_ROWS = 50_000_000
"""Each costs some 60 bytes of memory however it is stored: 3 GB."""
MAX_DOCUMENT_BYTES = 512_000_000
"""Of what any packed file unpacks to, whatever its ratio."""
MAX_WHOLE_BYTES = 64_000_000
"""Of one JSON document that is no array, which is read whole."""
MAX_RATIO = 100
"""Of a packed file that unpacks to more than that; text packs to a third or a tenth."""
MAX_LINE_CHARACTERS = 16_000_000
MAX_NAMES = 100_000
MAX_TRIED = 10_000  # lines of a .txt file, to find out whether it is rows of JSON
MAX_ROW_CHARACTERS = MAX_CELL_CHARACTERS
SMALL_BYTES = 32_000_000
"""Of a file that is held in memory, unpacked."""
SMALL_VALUES = 2_000_000
"""Of such a file: marks that may begin a value or a row, each of which may take 200 bytes."""
SMALL_ROWS = 500_000
PACKED = (".jsonl.gz", ".json.gz", ".csv.gz", ".tsv.gz", ".txt.gz")
EXTENSIONS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", *PACKED)
JSON_ENDINGS = (".jsonl", ".json")
SAVE_ROWS = translatable("Save the rows as JSON Lines, CSV or Parquet.")
ZIP = b"PK\x03\x04"

Numbered = tuple[int, Any]
Reading = Callable[[bool], Iterator[Numbered]]
"""Reads a file from its beginning; told whether it was read before, without a complaint."""


def read_records(path: Path, source: str) -> Sequence[Record]:
    """Every record of a dataset file; `source` is what the person called it.

    Raises NotFound where there is no such file, EngineError where its type, size, encoding or
    syntax is wrong, with the line or row; a large file's (`FileRecords`) when it is gone through.
    """
    _refuse_file(path, source)
    reading, is_small = _reading(path, source)
    if not is_small:
        return FileRecords(path, source, reading)
    found = list(islice(reading(False), SMALL_ROWS + 1))
    if len(found) > SMALL_ROWS:
        return FileRecords(path, source, reading)
    return check_row_count([Record(number, value) for number, value in found], source)


class FileRecords(ReadAnew):
    """The records of a file, read from it each time they are gone through.

    Whatever asks for their number or their columns has the whole file read and checked first.
    """

    def __init__(self, path: Path, source: str, reading: Reading) -> None:
        self._path, self._source, self._reading = path, source, reading
        self._identity = file_identity(path)
        self._is_checked = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every column of any record, in order of appearance."""
        return self._count_and_names[1]

    def __len__(self) -> int:
        return self._count_and_names[0]

    def __iter__(self) -> Iterator[Record]:
        self._refuse_change()
        for number, value in self._reading(self._is_checked):
            yield Record(number, value)
        self._refuse_change()

    @cached_property
    def _count_and_names(self) -> tuple[int, tuple[str, ...]]:
        """Raises EngineError as `read_records`."""
        count = 0
        names: dict[str, None] = {}
        for record in self:
            count += 1
            if count > MAX_ROWS:
                raise _too_many(self._source)
            if isinstance(record.value, dict):
                names.update(dict.fromkeys(record.value))
                self._refuse_names(len(names))
        if not count:
            raise _no_rows(self._source)
        self._is_checked = True
        return count, tuple(name for name in names if isinstance(name, str))

    def _refuse_names(self, count: int) -> None:
        if count > MAX_NAMES:
            raise EngineError(
                tr(
                    "{source} has more than {max_names} different column names.",
                    source=self._source,
                    max_names=f"{MAX_NAMES:,}",
                ),
                tr("Put what differs from row to row into values, under names that stay."),
            )

    def _refuse_change(self) -> None:
        if file_identity(self._path) != self._identity:
            raise EngineError(
                tr("{source} changed while it was read.", source=self._source),
                tr("Start again when nothing writes to it any more."),
            )


def file_identity(path: Path) -> tuple[int, ...]:
    """What differs once a file's content does. Raises OSError."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def check_row_count(records: list[Record], source: str) -> list[Record]:
    """The same records. Raises EngineError where there are none or too many."""
    if not records:
        raise _no_rows(source)
    if len(records) > MAX_ROWS:
        raise _too_many(source)
    return records


def _no_rows(source: str) -> EngineError:
    return EngineError(
        tr("{source} has no rows.", source=source), tr("Give a dataset with at least one row.")
    )


def _too_many(source: str) -> EngineError:
    return EngineError(
        tr(
            "{source} has more than {max_rows} rows; no more are read.",
            source=source,
            max_rows=f"{MAX_ROWS:,}",
        ),
        tr("Train on a part of it."),
    )


def _reading(path: Path, source: str) -> tuple[Reading, bool]:
    """How this file is read, and whether its records are held in memory. Raises EngineError for
    another kind."""
    bounds = TextBounds(MAX_FILE_BYTES, MAX_LINE_CHARACTERS, MAX_DOCUMENT_BYTES, MAX_RATIO)
    if ending(path) == ".parquet" or is_parquet(path):
        small = is_small_parquet(path, SMALL_BYTES, SMALL_VALUES, MAX_RATIO)
        return lambda _: parquet_rows(path, source, bounds), small
    file = TextFile(path, source, bounds)
    _refuse_other_kind(path, source, file)
    is_small = file.is_small(SMALL_BYTES, SMALL_VALUES)
    if ending(path) in (".csv", ".tsv"):
        return lambda _: csv_rows(file.lines(""), file.head, source), is_small
    if ending(path) == ".txt":
        return lambda _: passages(file), is_small
    if are_lines(file):
        return partial(json_lines, file), is_small
    if is_array(file):
        return lambda _: json_array(file), is_small
    found = json_rows(file.whole(MAX_WHOLE_BYTES), source, MAX_ROWS + 1)
    return lambda _: iter(found), True


def ending(path: Path) -> str:
    """What a file holds by its name: `.jsonl` for rows.jsonl and rows.JSONL.gz."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def has_dataset_ending(path: Path) -> bool:
    """Whether a name ends as a dataset file's does."""
    return path.name.lower().endswith(EXTENSIONS)


def _refuse_file(path: Path, source: str) -> None:
    if path.is_dir():
        raise EngineError(
            tr("{source} is a folder.", source=source), tr("Give the path of one dataset file.")
        )
    if not path.is_file():
        bundled = ", ".join(f"starter:{name}" for name in DATASET_NAMES)
        raise NotFound(
            tr("There is no dataset file {source}.", source=source),
            tr("Give {bundled}, the path of a file, or a hub id (org/name).", bundled=bundled),
        )
    refuse_ending(path, source)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise EngineError(
            tr(
                "{source} has {size} bytes; at most {max_file_bytes} are read.",
                source=source,
                size=f"{size:,}",
                max_file_bytes=f"{MAX_FILE_BYTES:,}",
            ),
            tr("Train on a part of it."),
        )


def refuse_ending(path: Path, source: str) -> None:
    """Raises EngineError where a file's name does not end as a dataset's does."""
    if not has_dataset_ending(path):
        raise EngineError(
            tr(
                "{source} ends in {ending}; {extensions} are read."
                if path.suffix
                else "{source} has no extension; {extensions} are read.",
                source=source,
                ending=path.suffix,
                extensions=", ".join(EXTENSIONS),
            ),
            tr(
                "Rename the file after what it holds (gzip as in rows.jsonl.gz), or convert "
                "it: a workbook to CSV, another archive to the file in it."
            ),
        )


def _refuse_other_kind(path: Path, source: str, file: TextFile) -> None:
    """Raises EngineError for another kind of file than its name's, named by its content."""
    head = file.head_bytes[:4096]
    what = name_archive(path) if head.startswith(ZIP) else name_binary(head)
    if what is not None:
        raise _other_kind(path, source, what)
    what = name_text(file.head)
    if what is not None and not _is_meant(path, what, file):
        raise _other_kind(path, source, what)


def _is_meant(path: Path, what: str, file: TextFile) -> bool:
    """Whether a text of this kind can be what the file's name says.

    Plain text may be markup or begin like JSON; rows of JSON would be trained on as they stand.
    """
    if ending(path) != ".txt":
        return what == "JSON" and ending(path) in JSON_ENDINGS
    if what != "JSON":
        return "LFS" not in what
    try:
        if are_lines(file) or is_array(file):
            tried = json_array(file) if is_array(file) else json_lines(file)
            return not all(isinstance(row, dict) for _, row in islice(tried, MAX_TRIED))
        rows = json_rows(file.whole(MAX_WHOLE_BYTES), path.name, MAX_ROWS)
    except EngineError:
        return True
    return not all(isinstance(row, dict) for _, row in rows)


def _other_kind(path: Path, source: str, what: str) -> EngineError:
    kinds = {".csv": "CSV", ".tsv": tr("CSV with tabs"), ".txt": tr("plain text")}
    meant = kinds.get(ending(path), "JSON")
    remedy = tr("Give it the ending .jsonl.") if what == "JSON" else conversion(what, tr(SAVE_ROWS))
    return EngineError(
        tr("{source} is {what}, not {meant}.", source=source, what=tr(what), meant=meant), remedy
    )
