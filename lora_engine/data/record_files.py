"""From a file to raw records, with every bound checked on the way.

A record is what stands in one place of the file: a JSON value, a CSV record or a Parquet row as
a dictionary, a passage of a .txt file. What the columns mean is `formats`' question. Nothing is
decompressed except Parquet's own pages, whose size is counted while they are read.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_engine.errors import EngineError, NotFound

MAX_FILE_BYTES = 512_000_000
MAX_ROWS = 1_000_000
MAX_ROW_CHARACTERS = 500_000
PASSAGE_CHARACTERS = 4_000
PARQUET_BATCH_ROWS = 1_000
EXTENSIONS = (".jsonl", ".json", ".csv", ".parquet", ".txt")


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
    extension = path.suffix.lower()
    if extension == ".parquet":
        records = _parquet_records(path, source)
    else:
        text = _decoded(path, source)
        if extension == ".csv":
            records = list(_csv_records(text, source))
        elif extension == ".txt":
            records = [Record(n, passage) for n, passage in enumerate(_passages(text), start=1)]
        else:
            records = _json_records(text, source)
    return check_row_count(records, source)


def check_row_count(records: list[Record], source: str) -> list[Record]:
    """The same records. Raises EngineError where there are none or too many."""
    if not records:
        raise EngineError(f"{source} has no rows.", "Give a dataset with at least one row.")
    if len(records) > MAX_ROWS:
        raise EngineError(
            f"{source} has {len(records):,} rows; at most {MAX_ROWS:,} are read.",
            "Train on a part of it.",
        )
    return records


def _refuse_file(path: Path, source: str) -> None:
    if path.is_dir():
        raise EngineError(f"{source} is a folder.", "Give the path of one dataset file.")
    if not path.is_file():
        raise NotFound(
            f"There is no dataset file {source}.",
            "Give starter:pirate, starter:json, starter:facts, the path of a file, or a hub id "
            "(org/name).",
        )
    if path.suffix.lower() not in EXTENSIONS:
        raise EngineError(
            f"{source} ends in {path.suffix or 'no extension'}; {', '.join(EXTENSIONS)} are read.",
            "Rename the file after what it holds, or convert it. Compressed files are not read.",
        )
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise EngineError(
            f"{source} has {size:,} bytes; at most {MAX_FILE_BYTES:,} are read.",
            "Train on a part of it.",
        )


def _decoded(path: Path, source: str) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise EngineError(
            f"{source} is not UTF-8 text: byte 0x{data[error.start]:02x} at position "
            f"{error.start:,}, line {line:,}.",
            "Save the file as UTF-8.",
        ) from None


def _json_records(text: str, source: str) -> list[Record]:
    """A JSON array, or JSON Lines with blank lines skipped, whichever the text is."""
    if text.lstrip()[:1] == "[":
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise EngineError(
                f"{source} starts as a JSON array and is not one: {error}.",
                "Give one JSON array of objects, or one JSON object on each line.",
            ) from None
        return [Record(number, value) for number, value in enumerate(values, start=1)]
    records, problems = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(Record(number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number}: not JSON ({error})")
    if problems:
        raise EngineError(
            first_problems(source, problems),
            "Give one JSON object on each line, or one JSON array of objects.",
        )
    return records


def _csv_records(text: str, source: str) -> Iterator[Record]:
    """CSV with a header; the separator is the comma, semicolon or tab the header uses most."""
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    remedy = (
        "Quote cells that hold separators, quotes or line breaks, and double the quotes inside."
    )
    number = 0
    try:
        names = next(reader, [])
        if len(set(names)) != len(names):
            raise EngineError(f"{source} names a column twice: {', '.join(names)}.", remedy)
        for number, cells in enumerate((cells for cells in reader if cells), start=1):
            if len(cells) != len(names):
                raise EngineError(
                    f"{source}, row {number} has {len(cells)} cells where the header has "
                    f"{len(names)} ({', '.join(names)}).",
                    remedy,
                )
            yield Record(number, dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        raise EngineError(f"{source}, row {number + 1} is not CSV: {error}.", remedy) from None


def _parquet_records(path: Path, source: str) -> list[Record]:
    import pyarrow
    from pyarrow import parquet

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
        reason = str(error).partition("\n")[0][:200]
        raise EngineError(
            f"{source} is not a readable Parquet file: {reason}", "Write the file again."
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


def first_problems(source: str, problems: list[str], shown: int = 5) -> str:
    """One sentence with the first few problems and how many more there are."""
    more = f"; and {len(problems) - shown:,} more" if len(problems) > shown else ""
    return f"{source}: {'; '.join(problems[:shown])}{more}."
