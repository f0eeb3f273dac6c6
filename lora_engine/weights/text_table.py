"""A text table as people's programs write it: its separators, names, and decimal marks.

Each way to part the columns is tried with each decimal mark, quotes before separators, and the one
under which every cell is a number is taken. Two that give different numbers are refused.

| what stands there | how it is read |
|---|---|
| `sep=;` in the first line (Excel) | that separator |
| `;`, tab, `|`, `,` outside quotes | parts the columns, in this order; else spaces do |
| `"1,5","2,5"`, `1,5;2,5`, `1,5 2,5` | decimal commas |
| `"1,234.5"`, `1.234,5`, `1 234,5`, `1'234.5` | marks of thousands before three digits |
| `"1,234","5,678"` alone | refused: 1234 or 1.234 |
| `1,234;5,678` alone | decimal commas, as programs with semicolons write, with a note |
| `1.234;5.678` alone | decimal points, with a note |
| one or two first lines of words | column names, units |
| a quoted first line above unquoted ones | column names, digits too |
| a first line 0, 1, ..., n-1 above a column of decimals | pandas' column numbers |
| the same above whole numbers, or above one line | numbers, with a note |
| another first line of numbers that count on by one, above decimals | numbers, with a note |
| a first line one name shorter than the rows (R) | column names; the first column: row names |
| an empty first name, or `Unnamed: 0` (pandas, R) | the first column: row names |
| a first name such as `index`, `id`, `row`, `nr` or `#` over 0, 1, 2, ... | the same |
| words in every row's first cell and nowhere else | row names |
| a first column 0, 1, 2, ... beside decimals alone | numbers, with a note |
| an empty last column, a row of separators | left out |
| lines that begin with # or % | comments, left out |

All of it is told in notes. This module knows nothing of files.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lora_engine.language import tr, tr_count, translatable
from lora_engine.weights.text_numbers import Decimal, is_word, number

Row = tuple[int, list[str]]
"""The number of a line, from 1, and its cells."""

MARKS = {  # the separators that a note names: neither commas nor spaces
    ";": translatable("semicolons"),
    "\t": translatable("tabs"),
    "|": translatable("vertical bars"),
}
MAX_HEADER_LINES = 2
_INDEX_NAMES = frozenset(
    ["index", "idx", "id", "row", "rowid", "row_id", "rownames", "row.names", "row_names"]
    + ["no", "no.", "nr", "nr.", "obs", "n°", "№", "#", "序号", "编号"]
)


@dataclass(frozen=True)
class Reading:
    """One way to read the lines.

    header: lines of names before the numbers. index: 1 where the first column holds row names.
    width: columns of the matrix. bad: cells that are no numbers under this reading.
    """

    delimiter: str
    decimal: Decimal
    header: int
    index: int
    width: int
    bad: int
    notes: tuple[str, ...]


def split_lines(lines: Sequence[tuple[int, str]], delimiter: str) -> list[Row]:
    """The cells of each line, quotes read before separators. Raises csv.Error."""
    if delimiter == " ":
        return [(number, _split_at_spaces(line)) for number, line in lines]
    if not any('"' in line for _, line in lines):
        return [(n, [cell.strip() for cell in line.split(delimiter)]) for n, line in lines]
    rows: list[Row] = []
    reader = csv.reader((line for _, line in lines), delimiter=delimiter, skipinitialspace=True)
    start = 0
    for cells in reader:
        rows.append((lines[start][0], [cell.strip() for cell in cells]))
        start = reader.line_num
    return rows


def _split_at_spaces(line: str) -> list[str]:
    if '"' not in line:
        return line.split()
    return [part.strip('"').strip() for part in re.findall(r'"[^"]*"|[^\s"]+', line)]


def readings(lines: Sequence[tuple[int, str]], declared: str | None) -> list[Reading]:
    """Every way to read the lines that could be meant, in the order of preference."""
    text = "\n".join(line for _, line in lines)
    outside = re.sub(r'"[^"]*"', "", text)
    marks = [declared] if declared else [m for m in (";", "\t", "|", ",") if m in outside]
    if not declared and "|" not in marks and ";" not in marks:
        marks.append(" ")
    found = []
    for mark in marks:
        rows = split_lines(lines, mark)
        quoted = _only_first_is_quoted(lines)
        for decimal in _decimals(rows):
            found.append(_read(rows, mark, decimal, quoted))
    return found


def _only_first_is_quoted(lines: Sequence[tuple[int, str]]) -> bool:
    """Whether every cell of the first line stands in quotes, and not every one of the second."""
    if len(lines) < 2:
        return False
    bare, second = (re.sub(r'"[^"]*"', "", line) for _, line in lines[:2])
    return (
        '"' in lines[0][1]
        and not re.search(r"[^\s,;|]", bare)
        and bool(re.search(r"[^\s,;|]", second))
    )


def _decimals(rows: Sequence[Row]) -> tuple[Decimal, ...]:
    """The decimal marks that the cells could have: a comma needs a comma or thousands' points."""
    cells = [cell for _, line in rows for cell in line]
    points = [cell for cell in cells if "." in cell and number(cell, ".") is not None]
    like_thousands = bool(points) and all(number(c, ",") is not None for c in points)
    many_points = any(cell.count(".") > 1 and number(cell, ",") is not None for cell in cells)
    if many_points or like_thousands or any("," in cell for cell in cells):
        return (".", ",")
    return (".",)


def _read(rows: Sequence[Row], mark: str, decimal: Decimal, quoted: bool) -> Reading:
    header, notes = _header(rows, decimal, quoted)
    body = [cells for _, cells in rows[header:]]
    total = _width(body)
    index, words = _row_names(rows[header - 1][1] if header else None, body, total)
    notes += words
    if not index and _could_number_rows(body, total, decimal):
        notes += (
            tr(
                "The first column counts the rows and was read as numbers. If it only numbers "
                "them, delete it."
            ),
        )
    width = total - index
    bad = sum(_bad_cells(cells, index, total, decimal) for cells in body)
    if any(len(cells) > total for cells in body):
        notes += (tr("An empty last column (a separator at the end of each line) was left out."),)
    if mark in MARKS:
        notes = (tr("The columns are separated by {marks}.", marks=tr(MARKS[mark])), *notes)
    if decimal == ",":
        notes = (tr("The comma was read as the decimal mark."), *notes)
    return Reading(mark, decimal, header, index, width, bad, notes)


def _could_number_rows(body: Sequence[list[str]], total: int, decimal: Decimal) -> bool:
    """Whether the first column counts three rows or more, beside columns of decimals alone."""
    if len(body) < 3 or total < 3 or not _counts([cells[0] for cells in body if cells]):
        return False
    return all(
        len(cells) > place and _is_decimal(cells[place], decimal)
        for cells in body
        for place in range(1, total)
    )


def _bad_cells(cells: list[str], index: int, total: int, decimal: Decimal) -> int:
    missing = max(0, total - len(cells))
    return missing + sum(number(cell, decimal) is None for cell in cells[index:total]) + sum(
        bool(cell) for cell in cells[total:]
    )  # fmt: skip


def _width(body: Sequence[list[str]]) -> int:
    """How many columns most rows have, empty ones at the end not counted."""
    lengths = {len(cells) for cells in body}
    filled = [filled_length(cells) for cells in body]
    if len(lengths) == 1:
        return max(filled)
    return max(Counter(filled).items(), key=lambda item: (item[1], item[0]))[0]


def filled_length(cells: Sequence[str]) -> int:
    """The number of cells up to the last that is not empty."""
    return next((place for place in range(len(cells), 0, -1) if cells[place - 1]), 0)


def _header(rows: Sequence[Row], decimal: Decimal, quoted: bool) -> tuple[int, tuple[str, ...]]:
    """How many lines of names come first, and what to say about them."""
    count = 0
    while count < min(MAX_HEADER_LINES, len(rows) - 1) and _are_names(rows[count][1], decimal):
        count += 1
    if count:
        return count, (
            tr_count(
                "The first line was taken as column names.",
                "The first {count} lines were taken as column names.",
                count,
            ),
        )
    if len(rows) < 2:
        return 0, ()
    return _numeric_header(rows, decimal, quoted)


def _are_names(cells: list[str], decimal: Decimal) -> bool:
    """Whether a line holds names and not a single number."""
    filled = [cell for cell in cells if cell]
    words = sum(is_word(cell) for cell in filled)
    none_is_number = all(number(cell, decimal) is None for cell in filled)
    return none_is_number and words > 0 and 2 * words >= len(filled)


def _numeric_header(
    rows: Sequence[Row], decimal: Decimal, quoted: bool
) -> tuple[int, tuple[str, ...]]:
    """Whether a first line of whole numbers names the columns."""
    first = rows[0][1][: filled_length(rows[0][1])]
    body = [cells for _, cells in rows[1:]]
    total = _width(body)
    above_row_names = bool(first) and len(first) == total and number(first[0], decimal) is None
    names = first[1:] if above_row_names else first
    if not _count_on(names) and not (quoted and all(cell.isdecimal() for cell in names)):
        return 0, ()
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    if (quoted and len(body) > 1) or (
        (above_row_names or len(first) == total - 1) and _is_index(first, names, body)
    ):
        return 1, (tr("The first line ({shown}) was taken as column numbers.", shown=shown),)
    words_first = above_row_names and all(is_word(cells[0]) for cells in body if cells)
    if len(first) != total or len(names) < 2 or (above_row_names and not words_first):
        return 0, ()
    decimals = any(
        all(len(cells) > place and _is_decimal(cells[place], decimal) for cells in body)
        for place in range(int(above_row_names), total)
    )
    if decimals and len(body) > 1 and names[0] == "0":
        return 1, (
            tr(
                "The first line ({shown}) was taken as pandas' column numbers. If it is a row of "
                "the matrix, write its numbers with a decimal point.",
                shown=shown,
            ),
        )
    if decimals or names[0] == "0":
        return 0, (
            tr(
                "The first line ({shown}) was read as numbers. If it names the columns, delete it.",
                shown=shown,
            ),
        )
    return 0, ()


def _is_index(first: list[str], names: list[str], body: Sequence[list[str]]) -> bool:
    """Whether the first column names the rows below a line of column numbers."""
    firsts = [cells[0] for cells in body]
    if _counts(firsts):
        return True
    pandas = len(names) > 1 and names[0] == "0"
    return first[0] == "" and (pandas or all(is_word(cell) for cell in firsts))


def _is_decimal(cell: str, decimal: Decimal) -> bool:
    """A number that shows that its column is not of whole numbers."""
    return number(cell, decimal) is not None and any(mark in cell for mark in (decimal, "e", "E"))


def _count_on(cells: Sequence[str]) -> bool:
    """Whole numbers, each one more than the one before."""
    if not cells or not all(re.fullmatch("[0-9]{1,9}", cell) for cell in cells):
        return False
    values = [int(cell) for cell in cells]
    return values == list(range(values[0], values[0] + len(values)))


def _counts(cells: Sequence[str]) -> bool:
    """0, 1, 2, ... or 1, 2, 3, ..."""
    return _count_on(cells) and cells[0] in ("0", "1")


def _row_names(
    header: list[str] | None, body: Sequence[list[str]], total: int
) -> tuple[int, tuple[str, ...]]:
    """1 and a note where the first column names the rows."""
    if total < 2:
        return 0, ()
    firsts = [cells[0] if cells else "" for cells in body]
    if header is not None:
        name = header[0] if header else ""
        if filled_length(header) == total - 1:
            return 1, (
                tr("The first column, not named in the first line, was taken as row names."),
            )
        if not name or re.fullmatch(r"Unnamed: \d+", name):
            return 1, (tr("The first column, without a name, was taken as row names."),)
        if name.lower() in _INDEX_NAMES and _counts(firsts):
            return 1, (tr("The first column, {name}, was taken as row numbers.", name=repr(name)),)
    others = (cell for cells in body for cell in cells[1:total])
    if all(is_word(cell) for cell in firsts) and not any(is_word(cell) for cell in others):
        return 1, (tr("The first column, words in every line, was taken as row names."),)
    return 0, ()
