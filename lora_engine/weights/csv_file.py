"""A matrix as text: CSV, TSV or numbers typed into a box.

Comma, semicolon, tab or spaces part the columns; with semicolons or tabs a decimal comma is
understood; one line of column names may come first. Everything else is refused with the line
and the column it stands in.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from lora_engine.errors import EngineError
from lora_engine.weights import limits
from lora_engine.weights.matrix import ArrayMatrix

_DELIMITERS = ((";", "semicolons"), ("\t", "tabs"), (",", "commas"))
_BYTE_ORDER_MARK = "\ufeff"


def open_csv(path: Path) -> ArrayMatrix:
    """Read a text file of numbers, float64. Raises EngineError naming line and column."""
    size = path.stat().st_size
    if size > limits.MAX_CSV_BYTES:
        raise EngineError(
            f"{path.name} has {size:,} bytes; text may have {limits.MAX_CSV_BYTES:,}.",
            "Save the matrix as .npy or safetensors.",
        )
    data = path.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise EngineError(
            f"{path.name} is text in UTF-16; UTF-8 is needed.", "Save it again as CSV UTF-8."
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise EngineError(
            f"{path.name}, line {line}: the byte {data[error.start]:#04x} is not UTF-8 text.",
            "Save it again as CSV UTF-8.",
        ) from None
    return parse_csv(text, path.name)


def parse_csv(text: str, name: str) -> ArrayMatrix:
    """Read text as a matrix, float64."""
    lines = _lines(text.removeprefix(_BYTE_ORDER_MARK), name)
    if not lines:
        raise EngineError(f"{name} holds no numbers.", "Give one line of numbers for each row.")
    delimiter, notes = _delimiter(lines)
    header = _is_header(lines, delimiter)
    if header:
        notes = (*notes, "The first line was taken as column names.")
    rows: list[list[float]] = []
    for number, line in lines[header:]:
        row = _parse_line(line, delimiter, name, number)
        if rows and len(row) != len(rows[0]):
            raise EngineError(
                f"{name}, line {number}: {len(row)} columns, where the lines before have "
                f"{len(rows[0])}.",
                "Give every row the same number of columns.",
            )
        rows.append(row)
        if len(rows) * len(row) > limits.MAX_CSV_ELEMENTS:
            raise _too_many(name, f"more than {limits.MAX_CSV_ELEMENTS:,} numbers")
    if len(rows[0]) == 1 and len(rows) > 1:
        raise EngineError(
            f"{name} is a vector of {len(rows)} numbers (one column); a matrix is needed.",
            "Part the columns by commas, semicolons, tabs or spaces.",
        )
    if len(rows) == 1 and len(rows[0]) > 1:
        raise EngineError(
            f"{name} is a vector of {len(rows[0])} numbers (one line); a matrix is needed.",
            "Give one line for each row.",
        )
    return ArrayMatrix(np.array(rows, dtype=np.float64), name, "text", notes)


def _lines(text: str, name: str) -> list[tuple[int, str]]:
    """Numbered lines that hold something, each within the limits."""
    found = []
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip(" \r")
        if not line.strip() or line.startswith("#"):
            continue
        if len(line) > limits.MAX_CSV_LINE_BYTES:
            raise EngineError(
                f"{name}, line {number}: {len(line):,} characters; at most "
                f"{limits.MAX_CSV_LINE_BYTES:,} are allowed.",
                "Save the matrix as .npy or safetensors.",
            )
        found.append((number, line))
        if len(found) > limits.MAX_CSV_ROWS + 1:
            raise _too_many(name, f"more than {limits.MAX_CSV_ROWS:,} rows")
    return found


def _delimiter(lines: list[tuple[int, str]]) -> tuple[str | None, tuple[str, ...]]:
    """The column mark that the first lines use; None means spaces."""
    first = "\n".join(line for _, line in lines[:5])
    for mark, word in _DELIMITERS:
        if mark in first:
            decimal = mark != "," and "," in first
            note = f"Columns parted by {word}" + (", decimal comma." if decimal else ".")
            return mark, (note,) if mark != "," else ()
    return None, ()


def _split(line: str, delimiter: str | None) -> list[str]:
    cells = line.split() if delimiter is None else line.split(delimiter)
    return [cell.strip().strip('"').strip() for cell in cells]


def _is_header(lines: list[tuple[int, str]], delimiter: str | None) -> bool:
    """Whether the first line names columns: not one cell of it is a number, the second's are."""
    if len(lines) < 2:
        return False
    first, second = (_split(line, delimiter) for _, line in lines[:2])
    named = all(cell and _number(cell, delimiter) is None for cell in first)
    return named and any(_number(cell, delimiter) is not None for cell in second)


def _parse_line(line: str, delimiter: str | None, name: str, number: int) -> list[float]:
    cells = _split(line, delimiter)
    if len(cells) > limits.MAX_CSV_COLUMNS:
        raise _too_many(
            f"{name}, line {number}",
            f"{len(cells):,} columns, allowed are {limits.MAX_CSV_COLUMNS:,}",
        )
    row = []
    for column, cell in enumerate(cells, start=1):
        value = _number(cell, delimiter)
        if value is None or not math.isfinite(value):
            what = "is empty" if not cell else f"holds {cell[:40]!r}"
            raise EngineError(
                f"{name}, line {number}, column {column} {what}; a finite number is needed.",
                "Correct this cell.",
            )
        row.append(value)
    return row


def _number(cell: str, delimiter: str | None) -> float | None:
    """A cell's number; a decimal comma only where the comma does not part columns."""
    if delimiter != "," and cell.count(",") == 1 and "." not in cell:
        cell = cell.replace(",", ".")
    if "_" in cell or not cell.isascii():
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def _too_many(name: str, what: str) -> EngineError:
    return EngineError(f"{name} has {what} as text.", "Save the matrix as .npy or safetensors.")
