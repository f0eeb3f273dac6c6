"""From a file to raw records, with every bound checked on the way.

A record is what stands in one place of the file: a JSON value, a CSV record or a Parquet row as
a dictionary, a passage of a .txt file. What the columns mean is `formats`' question. Parquet's
pages and gzip are unpacked, and their size is counted meanwhile. A file is what its content says:
another kind than its name's is read (gzip, Parquet) or refused by its own name.
"""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_engine.data.csv_rows import MAX_CELL_CHARACTERS, csv_rows
from lora_engine.data.json_rows import json_rows
from lora_engine.errors import EngineError, NotFound
from lora_engine.foreign_files import (
    conversion,
    decode_text,
    name_archive,
    name_binary,
    name_text,
)

MAX_FILE_BYTES = 512_000_000
MAX_ROWS = 1_000_000
MAX_ROW_CHARACTERS = MAX_CELL_CHARACTERS
PASSAGE_CHARACTERS = 4_000
PARQUET_BATCH_ROWS = 1_000
PACKED = (".jsonl.gz", ".json.gz", ".csv.gz", ".tsv.gz", ".txt.gz")
EXTENSIONS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", *PACKED)
JSON_ENDINGS = (".jsonl", ".json")
SAVE_ROWS = "Save the rows as JSON Lines, CSV or Parquet."
GZIP, ZIP, PARQUET = b"\x1f\x8b", b"PK\x03\x04", b"PAR1"


@dataclass(frozen=True)
class Record:
    """One raw record; `number` is 1-based, as in the file."""

    number: int
    value: Any


def read_records(path: Path, source: str) -> list[Record]:
    """Every record of a dataset file; `source` is what the person called it.

    Raises NotFound where there is no such file, EngineError where its type, size, encoding or
    syntax is wrong, with the line or row.
    """
    _refuse_file(path, source)
    if ending(path) == ".parquet" or _is_parquet(path):
        return check_row_count(_parquet_records(path, source), source)
    text = _decoded(path, source)
    if ending(path) in (".csv", ".tsv"):
        found: list[tuple[int, Any]] = list(csv_rows(text, source, MAX_ROWS + 1))
    elif ending(path) == ".txt":
        found = list(enumerate(_passages(text), start=1))
    else:
        found = json_rows(text, source, MAX_ROWS + 1)
    return check_row_count([Record(number, value) for number, value in found], source)


def check_row_count(records: list[Record], source: str) -> list[Record]:
    """The same records. Raises EngineError where there are none or too many."""
    if not records:
        raise EngineError(f"{source} has no rows.", "Give a dataset with at least one row.")
    if len(records) > MAX_ROWS:
        raise EngineError(
            f"{source} has more than {MAX_ROWS:,} rows; no more are read.",
            "Train on a part of it.",
        )
    return records


def ending(path: Path) -> str:
    """What a file holds by its name: `.jsonl` for rows.jsonl and rows.JSONL.gz."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def has_dataset_ending(path: Path) -> bool:
    """Whether a name ends as a dataset file's does."""
    return path.name.lower().endswith(EXTENSIONS)


def _refuse_file(path: Path, source: str) -> None:
    if path.is_dir():
        raise EngineError(f"{source} is a folder.", "Give the path of one dataset file.")
    if not path.is_file():
        raise NotFound(
            f"There is no dataset file {source}.",
            "Give starter:pirate, starter:json, starter:facts, the path of a file, or a hub id "
            "(org/name).",
        )
    refuse_ending(path, source)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise _too_large(source, f"has {size:,} bytes; at most {MAX_FILE_BYTES:,} are read")


def refuse_ending(path: Path, source: str) -> None:
    """Raises EngineError where a file's name does not end as a dataset's does."""
    if not has_dataset_ending(path):
        what = f"ends in {path.suffix or 'no extension'}"
        raise EngineError(
            f"{source} {what}; {', '.join(EXTENSIONS)} are read.",
            "Rename the file after what it holds (gzip as in rows.jsonl.gz), or convert it: a "
            "workbook to CSV, another archive to the file in it.",
        )


def _too_large(source: str, what: str) -> EngineError:
    return EngineError(f"{source} {what}.", "Train on a part of it.")


def _content(path: Path, source: str) -> bytes:
    """The file's bytes; a gzip archive's are unpacked, whatever its name, up to the bound."""
    data = path.read_bytes()
    if data[:2] != GZIP:
        return data
    try:
        with gzip.open(io.BytesIO(data)) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        raise EngineError(
            f"{source} is a gzip archive that is damaged or cut off.",
            "Get it from its source again.",
        ) from None
    if len(data) > MAX_FILE_BYTES:
        raise _too_large(source, f"unpacks to more than {MAX_FILE_BYTES:,} bytes")
    return data


def _decoded(path: Path, source: str) -> str:
    """The file's text. Raises EngineError for another kind of file, named by its content."""
    data = _content(path, source)
    head = data[:4096]
    what = name_archive(path) if head.startswith(ZIP) else name_binary(head)
    if what is not None:
        raise _other_kind(path, source, what)
    text = decode_text(data, source)
    what = name_text(text)
    if what is not None and not _is_meant(path, what, text):
        raise _other_kind(path, source, what)
    return text


def _is_meant(path: Path, what: str, text: str) -> bool:
    """Whether a text of this kind can be what the file's name says.

    Plain text may be markup or begin like JSON; rows of JSON would be trained on as they stand.
    """
    if ending(path) != ".txt":
        return what == "JSON" and ending(path) in JSON_ENDINGS
    if what != "JSON":
        return "LFS" not in what
    try:
        rows = json_rows(text, path.name, MAX_ROWS)
    except EngineError:
        return True
    return not all(isinstance(row, dict) for _, row in rows)


def _other_kind(path: Path, source: str, what: str) -> EngineError:
    kinds = {".csv": "CSV", ".tsv": "CSV with tabs", ".txt": "plain text"}
    meant = kinds.get(ending(path), "JSON")
    remedy = "Give it the ending .jsonl." if what == "JSON" else conversion(what, SAVE_ROWS)
    return EngineError(f"{source} is {what}, not {meant}.", remedy)


def _is_parquet(path: Path) -> bool:
    head, tail = _both_ends(path)
    return head.startswith(PARQUET) and tail == PARQUET


def _both_ends(path: Path) -> tuple[bytes, bytes]:
    with path.open("rb") as file:
        head = file.read(4096)
        file.seek(max(0, path.stat().st_size - len(PARQUET)))
        return head, file.read()


def _refuse_other_than_parquet(path: Path, source: str) -> None:
    """Name what a file is that begins or ends otherwise than Parquet does."""
    head, tail = _both_ends(path)
    if not head.startswith(PARQUET):
        what = name_archive(path) if head.startswith(ZIP) else name_binary(head)
        what = what or name_text(head.decode("utf-8", "replace"))
        shown = f"is {what}" if what else f"begins with the bytes {head[:4].hex(' ') or '(none)'}"
        raise EngineError(
            f"{source} is not a readable Parquet file: it {shown}.",
            conversion(what, SAVE_ROWS) if what else "Give it the ending of what it holds.",
        )
    if tail != PARQUET:
        raise EngineError(
            f"{source} is not a readable Parquet file: its end is missing.",
            "Get it from its source again.",
        )


def _parquet_records(path: Path, source: str) -> list[Record]:
    import pyarrow
    from pyarrow import parquet

    _refuse_other_than_parquet(path, source)
    rows: list[dict] = []
    read_bytes = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS):
                read_bytes += batch.nbytes
                if read_bytes > MAX_FILE_BYTES or len(rows) > MAX_ROWS:
                    raise EngineError(
                        f"{source} unpacks to more than {MAX_FILE_BYTES:,} bytes or "
                        f"{MAX_ROWS:,} rows.",
                        "Train on a part of it.",
                    )
                rows += batch.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        unknown = isinstance(error, NotImplementedError)
        why = "it is packed or encrypted in a way that is not read" if unknown else "it is damaged"
        raise EngineError(
            f"{source} is not a readable Parquet file: {why}.", "Write the file again."
        ) from None
    return [Record(number, value) for number, value in enumerate(rows, start=1)]


def _passages(text: str) -> list[str]:
    """A running text cut at blank lines, line ends or anywhere, in that order of preference.

    Every passage has at most `PASSAGE_CHARACTERS` characters; joined they are the text.
    """
    text = text.replace("\r\n", "\n")
    passages = []
    start = 0
    while start < len(text):
        end = min(len(text), start + PASSAGE_CHARACTERS)
        if end < len(text):
            for separator in ("\n\n", "\n", " "):
                found = text.rfind(separator, start, end)
                if found > start:
                    end = found + len(separator)
                    break
        passages.append(text[start:end])
        start = end
    return passages if text.strip() else []
