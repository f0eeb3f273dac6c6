"""A matrix as text: CSV, TSV, what R, pandas, NumPy and spreadsheets save, or numbers typed in.

`text_table` finds out how the lines are meant; here every line is read that way. What cannot be
a finite number is refused with the line and the column it stands in.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from lora_engine.errors import EngineError
from lora_engine.foreign_files import decode_text, name_text
from lora_engine.language import tr, translatable
from lora_engine.weights import limits
from lora_engine.weights.matrix import ArrayMatrix
from lora_engine.weights.text_brackets import rows_in_brackets
from lora_engine.weights.text_choice import HOW, choose_reading
from lora_engine.weights.text_numbers import (
    Decimal,
    explain,
    has_thousands,
    number,
)
from lora_engine.weights.text_table import Reading, Row, filled_length, split_lines

_PLAIN = {mark: re.compile(rf"[\d{mark};eE+-]*", re.ASCII) for mark in ".,"}
_DECLARED = re.compile(r'"?sep=([;,|\t ])"?', re.IGNORECASE)
_EXCEL_ERRORS = ("#N/A", "#NV", "#DIV/", "#NAME", "#NULL", "#NUM", "#REF", "#VALUE")


def open_csv(path: Path) -> ArrayMatrix:
    """Read a text file of numbers, float64. Raises EngineError naming line and column."""
    size = path.stat().st_size
    if size > limits.MAX_CSV_BYTES:
        raise EngineError(
            tr(
                "{name} has {size} bytes; text may have {max_csv_bytes}.",
                name=path.name,
                size=f"{size:,}",
                max_csv_bytes=f"{limits.MAX_CSV_BYTES:,}",
            ),
            tr("Save the matrix as .npy or safetensors."),
        )
    return parse_csv(decode_text(path.read_bytes(), path.name), path.name)


def parse_csv(text: str, name: str) -> ArrayMatrix:
    """Read text as a matrix, float64; notes say what was taken as names or left out."""
    text = text.removeprefix("\ufeff")
    _refuse_other_text(text, name)
    in_brackets = rows_in_brackets(text, name)
    lines, declared, left_out = _lines(text if in_brackets is None else in_brackets, name)
    if not lines:
        raise EngineError(tr("{name} holds no numbers.", name=name), tr(HOW))
    _refuse_open_quote(lines, name)
    try:
        in_lines = in_brackets is None
        reading = choose_reading(lines, declared, name) if in_lines else _in_brackets(lines)
        rows = split_lines(lines, reading.delimiter)
    except csv.Error:
        raise EngineError(
            tr(
                "{name} has a cell of over {field_size_limit} characters.",
                name=name,
                field_size_limit=f"{csv.field_size_limit():,}",
            ),
            tr("Close every quote, or save the matrix as .npy or safetensors."),
        ) from None
    values, thousands, blank = _numbers(rows[reading.header :], reading, name)
    if reading.header:
        _check_names(rows[reading.header - 1], reading, name)
    notes = reading.notes + tuple(_left_out(thousands, blank, left_out))
    if 1 in values.shape and values.size > 1:
        # commas or spaces may have parted columns; [1, 2] is a list
        in_doubt = reading.decimal == "," and reading.delimiter == " "
        if in_doubt or thousands or not in_lines:
            raise _vector(values, name, reading.notes)
        notes += (_note_of_vector(values),)
    return ArrayMatrix(values, name, "text", notes)


def _left_out(thousands: str, blank: int, comments: int) -> Iterator[str]:
    if thousands:
        yield tr("Marks of thousands were read, as in {cell}.", cell=" ".join(thousands.split()))
    if blank:
        yield tr("Lines of separators alone were left out: {count}.", count=f"{blank:,}")
    if comments:
        yield tr("Comment lines were left out: {count}.", count=f"{comments:,}")


def _in_brackets(lines: Sequence[tuple[int, str]]) -> Reading:
    """Rows that stood in brackets hold numbers alone, with decimal points."""
    mark = "," if any("," in line for _, line in lines) else " "
    width = max(len(cells) for _, cells in split_lines(lines, mark))
    return Reading(mark, ".", 0, 0, width, 0, (tr("Read as a matrix in brackets."),))


def _refuse_other_text(text: str, name: str) -> None:
    """Text that is something else than a table, named as what it is."""
    start = text[:4096].lstrip(" \t\r\n")
    is_market = start.startswith("%%MatrixMarket")
    what = translatable("a Matrix Market file") if is_market else name_text(start)
    if what is not None:
        remedy = translatable("Read it with scipy.io.mmread, and save it dense with numpy.save.")
        raise EngineError(
            tr("{name} is {what}, not a table of numbers.", name=name, what=tr(what)),
            tr(remedy if is_market else HOW),
        )


def _lines(text: str, name: str) -> tuple[list[tuple[int, str]], str | None, int]:
    """Numbered lines that hold something, the separator that the first declares, and how many
    comments were left out."""
    found: list[tuple[int, str]] = []
    declared, comments = None, 0
    for place, raw in enumerate(re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text), start=1):
        line = raw.strip(" ")
        if not line.strip():
            continue
        match = None if found else _DECLARED.fullmatch(raw)
        if match:
            declared = match[1]
        elif _is_comment(line):
            comments += 1
        else:
            if len(line) > limits.MAX_CSV_LINE_BYTES:
                raise EngineError(
                    tr(
                        "{name}, line {place}: {count} characters; at most "
                        "{max_csv_line_bytes} are allowed.",
                        name=name,
                        place=place,
                        count=f"{len(line):,}",
                        max_csv_line_bytes=f"{limits.MAX_CSV_LINE_BYTES:,}",
                    ),
                    tr("Save the matrix as .npy or safetensors."),
                )
            found.append((place, line))
        if len(found) > limits.MAX_CSV_ROWS + 2:
            raise _too_many(name, tr("more than {most} rows", most=f"{limits.MAX_CSV_ROWS:,}"))
    return found, declared, comments


def _refuse_open_quote(lines: Sequence[tuple[int, str]], name: str) -> None:
    odd = [place for place, line in lines if line.count('"') % 2]
    if len(odd) % 2:
        raise EngineError(
            tr(
                "{name}, line {odd}: a quote stands there that has no partner.",
                name=name,
                odd=odd[-1],
            ),
            tr("Close the quote, or leave it out."),
        )


def _is_comment(line: str) -> bool:
    """A line that begins with # or %; not a column named #, nor a spreadsheet's error word."""
    if line[0] not in "#%":
        return False
    return line[1:2] not in (",", ";", "\t") and not line.upper().startswith(_EXCEL_ERRORS)


def _numbers(rows: Sequence[Row], reading: Reading, name: str) -> tuple[np.ndarray, str, int]:
    """The matrix, a number with marks of thousands where there is one, and the blank lines."""
    total = reading.index + reading.width
    if total > limits.MAX_CSV_COLUMNS:
        raise _too_many(
            name,
            tr(
                "{total} columns (at most {most} are allowed)",
                total=f"{total:,}",
                most=f"{limits.MAX_CSV_COLUMNS:,}",
            ),
        )
    values: list[list[float]] = []
    thousands, blank = "", 0
    for place, cells in rows:
        if not any(cells):
            blank += 1
            continue
        if len(cells) != total:
            _check_length(cells, total, reading, f"{name}, line {place}")
        row, marked = _row(cells[reading.index : total], reading, name, place)
        thousands = thousands or marked
        values.append(row)
        if len(values) * len(row) > limits.MAX_CSV_ELEMENTS:
            raise _too_many(
                name, tr("more than {most} numbers", most=f"{limits.MAX_CSV_ELEMENTS:,}")
            )
    if len(values) > limits.MAX_CSV_ROWS:
        raise _too_many(name, tr("more than {most} rows", most=f"{limits.MAX_CSV_ROWS:,}"))
    if not values or not values[0]:
        raise EngineError(tr("{name} holds no numbers.", name=name), tr(HOW))
    return np.array(values, dtype=np.float64), thousands, blank


def _check_names(names: Row, reading: Reading, name: str) -> None:
    """As many names as columns; one fewer where the first column names the rows."""
    place, cells = names
    found, columns = filled_length(cells), reading.index + reading.width
    if found > columns or found < columns - reading.index:
        raise EngineError(
            tr(
                "{name}, line {place} has {found} names in its header, where the lines below "
                "have {columns} columns.",
                name=name,
                place=place,
                found=found,
                columns=columns,
            ),
            tr("Give each column one name, or delete the header."),
        )


def _check_length(cells: list[str], total: int, reading: Reading, where: str) -> None:
    """A line may be longer than the others by empty cells only."""
    if len(cells) < total or filled_length(cells) > total:
        wrong = len(cells) if len(cells) < total else filled_length(cells)
        raise EngineError(
            tr(
                "{where}: {wrong} columns, where the others have {total}.",
                where=where,
                wrong=wrong,
                total=total,
            ),
            tr("Give every row the same number of columns."),
        )


def _row(cells: list[str], reading: Reading, name: str, place: int) -> tuple[list[float], str]:
    """One line's numbers, and the first of them that has marks of thousands."""
    if _PLAIN[reading.decimal].fullmatch(";".join(cells)):
        with suppress(ValueError):  # an odd cell is looked at below
            plain = [float(cell.replace(",", ".")) for cell in cells]
            if max(plain) < math.inf and min(plain) > -math.inf:
                return plain, ""
    decimal: Decimal = reading.decimal
    found, thousands = [], ""
    for column, cell in enumerate(cells, start=1 + reading.index):
        value = number(cell, decimal)
        if value is None or math.isinf(value):
            what, remedy = explain(cell) if value is None else _beyond(cell)
            raise EngineError(
                tr(
                    "{name}, line {place}, column {column} {what}.",
                    name=name,
                    place=place,
                    column=column,
                    what=what,
                ),
                remedy,
            )
        if not thousands and has_thousands(cell, decimal):
            thousands = cell
        found.append(value)
    return found, thousands


def _beyond(cell: str) -> tuple[str, str]:
    what = tr(
        "holds {cell}, beyond what float64 holds; a finite number is needed",
        cell=repr(cell[:40]),
    )
    return what, tr("Scale the matrix down first.")


def _vector(values: np.ndarray, name: str, notes: tuple[str, ...]) -> EngineError:
    """One row or one column under a reading that may be wrong; the notes say which it is."""
    rows, columns = values.shape
    if columns == 1:
        problem = tr(
            "{name} is a vector of {count} numbers (one column); a matrix is needed.",
            name=name,
            count=rows,
        )
        remedy = tr("Separate the columns by commas, semicolons, tabs or spaces.")
    else:
        problem = tr(
            "{name} is a vector of {count} numbers (one line); a matrix is needed.",
            name=name,
            count=columns,
        )
        remedy = tr("Give one line for each row.")
    return EngineError(" ".join([problem, *notes]), remedy)


def _note_of_vector(values: np.ndarray) -> str:
    rows, columns = values.shape
    return tr(
        "Read as a matrix of one column ({rows} x 1)."
        if columns == 1
        else "Read as a matrix of one row (1 x {columns}).",
        rows=f"{rows:,}",
        columns=f"{columns:,}",
    )


def _too_many(name: str, what: str) -> EngineError:
    return EngineError(
        tr("{name} has {what} as text.", name=name, what=what),
        tr("Save the matrix as .npy or safetensors."),
    )
