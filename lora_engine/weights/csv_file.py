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
from dataclasses import replace
from pathlib import Path

import numpy as np

from lora_engine.errors import EngineError
from lora_engine.foreign_files import decode_text, name_text
from lora_engine.language import tr, translatable
from lora_engine.weights import limits
from lora_engine.weights.matrix import ArrayMatrix
from lora_engine.weights.text_brackets import rows_in_brackets
from lora_engine.weights.text_numbers import (
    Decimal,
    explain,
    has_thousands,
    is_explained,
    number,
)
from lora_engine.weights.text_table import Reading, Row, filled_length, readings, split_lines

SAMPLE_CHARACTERS = 65_536
_PLAIN = {mark: re.compile(rf"[\d{mark};eE+-]*", re.ASCII) for mark in ".,"}
_SPACED_THOUSANDS = re.compile(
    "(?<![0-9.,])[1-9][0-9]{0,2}(?: 0[0-9]{2}|[\u00a0\u2009\u202f][0-9]{3})(?![0-9])"
)
_DECLARED = re.compile(r'"?sep=([;,|\t ])"?', re.IGNORECASE)
_EXCEL_ERRORS = ("#N/A", "#NV", "#DIV/", "#NAME", "#NULL", "#NUM", "#REF", "#VALUE")
_HOW = translatable(
    "Give one line for each row, its numbers separated by commas, semicolons, tabs or spaces."
)


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
        raise EngineError(tr("{name} holds no numbers.", name=name), tr(_HOW))
    _refuse_open_quote(lines, name)
    try:
        reading = (
            _choose(lines, declared, name) if in_brackets is None else _reading_of_brackets(lines)
        )
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
        if in_doubt or thousands or in_brackets is not None:
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


def _reading_of_brackets(lines: Sequence[tuple[int, str]]) -> Reading:
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
            tr(remedy if is_market else _HOW),
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


def _choose(lines: Sequence[tuple[int, str]], declared: str | None, name: str) -> Reading:
    """The reading under which every cell of the first lines is a number, else the nearest.

    Raises EngineError for text that is no table, and where two readings give other numbers.
    """
    sample = _sample(lines)
    found = readings(sample, declared)
    if any(reading.width > 1 for reading in found):
        found = [reading for reading in found if reading.width > 1]
    whole = [reading for reading in found if not reading.bad]
    if not whole:
        _refuse_prose(sample, found, name)
        return min(found, key=lambda one: (one.bad, one.delimiter == ";" and one.decimal == "."))
    first = whole[0]
    if first.delimiter == " ":
        _refuse_spaced_thousands(sample, name)
    for other in whole[1:]:
        place, cell = _difference(sample, first, other)
        if not place or (first.delimiter, other.delimiter) == ("\t", " "):
            continue
        if first.delimiter != other.delimiter or ("," in cell and first.delimiter != ";"):
            raise EngineError(
                tr(
                    "{name}, line {place} can be read in two ways: {cell} holds decimal "
                    "commas, or commas between numbers or thousands.",
                    name=name,
                    place=place,
                    cell=f"{cell[:60]!r}",
                ),
                tr("Write numbers with a decimal point and without marks of thousands."),
            )
        if first.delimiter == ";":
            return _with_semicolons(first, other, cell)
    return first


def _refuse_spaced_thousands(lines: Sequence[tuple[int, str]], name: str) -> None:
    """Nobody writes 000 for a number of its own, and few put a no-break space between columns."""
    for place, line in lines:
        spaced = _SPACED_THOUSANDS.search(line)
        if spaced:
            raise EngineError(
                tr(
                    "{name}, line {place} can be read in two ways: {cell} is one number with a "
                    "mark of thousands, or several.",
                    name=name,
                    place=place,
                    cell=f"{spaced[0]!r}",
                ),
                tr("Write numbers with a decimal point and without marks of thousands."),
            )


def _with_semicolons(points: Reading, commas: Reading, cell: str) -> Reading:
    """Of two readings that differ in the decimal mark, the one that the cells' marks speak for."""
    if "," in cell:
        note = tr(
            "The comma before three digits, as in {cell}, was read as the decimal mark.",
            cell=repr(cell),
        )
        return replace(commas, notes=(*commas.notes, note))
    note = tr(
        "The point before three digits, as in {cell}, was read as the decimal mark.",
        cell=repr(cell),
    )
    return replace(points, notes=(*points.notes, note))


def _sample(lines: Sequence[tuple[int, str]]) -> Sequence[tuple[int, str]]:
    characters = 0
    for place, (_, line) in enumerate(lines):
        characters += len(line)
        if characters > SAMPLE_CHARACTERS and place >= 3:
            return lines[:place]
    return lines


def _difference(lines: Sequence[tuple[int, str]], one: Reading, other: Reading) -> tuple[int, str]:
    """The first line and text of which two readings give different numbers; 0 for none."""
    mine, theirs = split_lines(lines, one.delimiter), split_lines(lines, other.delimiter)
    for (place, cells), (_, others) in zip(mine, theirs, strict=False):
        if cells != others:
            return place, " ".join(others)
        for cell in cells[one.index :]:
            if number(cell, one.decimal) != number(cell, other.decimal):
                return place, cell
    return 0, ""


def _refuse_prose(lines: Sequence[tuple[int, str]], found: Sequence[Reading], name: str) -> None:
    """Refuse text in which few cells are numbers under any reading."""
    shares = []
    for reading in found:
        rows = split_lines(lines, reading.delimiter)[reading.header :]
        cells = [cell for _, row in rows for cell in row[reading.index :] if cell]
        like = sum(number(c, reading.decimal) is not None or is_explained(c) for c in cells)
        shares.append(like / max(1, len(cells)))
    if max(shares) < 0.5:
        raise EngineError(
            tr(
                "{name} is no table of numbers; line {lines} reads {lines_2}.",
                name=name,
                lines=lines[0][0],
                lines_2=f"{lines[0][1][:60]!r}",
            ),
            tr(_HOW),
        )


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
        raise EngineError(tr("{name} holds no numbers.", name=name), tr(_HOW))
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
