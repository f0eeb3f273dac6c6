"""The records of a CSV or TSV text, as spreadsheets, R and pandas write it.

| what stands there | how it is read |
|---|---|
| `sep=;` in the first line (Excel) | that separator |
| else | the one of comma, semicolon, tab and bar that the header uses most outside quotes |
| quoted names with spaces between them (R) | the space |
| a header with a space behind each separator | such spaces are no part of the cells |
| columns at the end with neither a name nor a value | left out |
| a first column without a name (pandas, R) | an index: left out |
| any other column without a name that holds something | refused: the cell is named |
| a quoted header one name shorter than all rows, which count 1, 2, 3, ... first (R) | row names |
| a line of separators alone | left out; it counts as a row |

This module knows nothing of files or of what columns mean.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable

MAX_CELL_CHARACTERS = 500_000
MAX_COLUMNS = 10_000
Numbered = tuple[int, list[str]]
SEPARATORS = "\t;|,"
"""In this order where a header has as many of one as of another."""

_DECLARED = re.compile(r'"?sep=([;,|\t ])"?\r?\n', re.IGNORECASE)
_REMEDY = translatable(
    "Quote cells that hold separators, quotes or line breaks, and double the quotes inside."
)
_NAME_THEM = translatable("Name each column once in the first line.")

# The limit of Python's csv module is one for the whole process; 131,072 unless it is set.
csv.field_size_limit(MAX_CELL_CHARACTERS)


def csv_rows(lines: Iterator[str], head: str, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and cells by name of each record, as they are asked for; the header is not counted.

    lines: the text's lines with their ends. head: how the text begins.
    Raises EngineError naming the row and the column of what cannot be read.
    """
    declared = _DECLARED.match(head)
    if declared:
        head = head[declared.end() :]
        next(lines)
    header = _first_line(head)
    separator = declared[1] if declared else _separator(header)
    spaced = header.count(separator) > 0 and header.count(separator) == header.count(
        f"{separator} "
    )
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=spaced)
    records = _records(reader, source)
    names = [name.strip() for name in next(records, (0, []))[1]]
    if len(names) > MAX_COLUMNS:
        raise EngineError(
            tr(
                "{source} has {count} columns; at most {max_columns} are read.",
                source=source,
                count=f"{len(names):,}",
                max_columns=f"{MAX_COLUMNS:,}",
            ),
            tr("Leave out the columns that are not trained on."),
        )
    _refuse_names_twice(names, source)
    first = next(records, None)
    if first is None:
        return
    if head[:1] == '"' and len(first[1]) == len(names) + 1 and first[1][0] in ("0", "1"):
        records = _with_row_names(records, first, names, source)
        names = ["", *names]
    columns = len(names)
    while names and not names[-1]:
        names = names[:-1]
    for number, cells in chain([first], records):
        _refuse_nameless(cells, names, columns, number, source)
        fields = zip(names, _fitted(cells, names, number, source), strict=True)
        yield number, {name: cell for name, cell in fields if name}


def _with_row_names(
    records: Iterator[Numbered], first: Numbered, names: list[str], source: str
) -> Iterator[Numbered]:
    """The records after the first, where each has a row's name before its cells: 1, 2, 3, ..."""
    start = int(first[1][0])
    for place, (number, cells) in enumerate(records, start=1):
        if len(cells) != len(names) + 1 or cells[0] != str(start + place):
            _fitted(first[1], names, first[0], source)  # these are no row names: says what is wrong
        yield number, cells


def _first_line(text: str) -> str:
    """The header, without what stands in quotes."""
    bare = re.sub(r'"[^"]*"', '""', text[:65_536].lstrip("\r\n"))
    return re.split(r"[\r\n]", bare, maxsplit=1)[0]


def _separator(header: str) -> str:
    if re.fullmatch(r'""( "")+', header):
        return " "  # R's write.table
    return max(SEPARATORS, key=header.count)


def _records(reader: Any, source: str) -> Iterator[Numbered]:
    """Number and cells of each record that holds something; 0 is the header."""
    number = 0
    try:
        for cells in reader:
            if any(cells):
                yield number, cells
            number += bool(cells)
    except csv.Error as error:
        where = (
            tr("{source}, row {number}", source=source, number=number)
            if number
            else tr("{source}, header", source=source)
        )
        raise EngineError(
            tr("{where} {complaint}.", where=where, complaint=_complaint(error)), tr(_REMEDY)
        ) from None


def _complaint(error: csv.Error) -> str:
    text = str(error)
    if "field larger" in text:
        return tr(
            "has a cell of more than {max_cell_characters} characters, or a quote that "
            "is never closed",
            max_cell_characters=f"{MAX_CELL_CHARACTERS:,}",
        )
    if "unexpected end" in text:
        return tr("is not CSV: a quote is opened in it and never closed")
    if "expected after" in text:
        return tr("is not CSV: something stands between a closing quote and the next separator")
    return tr("is not CSV")


def _refuse_nameless(
    cells: list[str], names: list[str], columns: int, number: int, source: str
) -> None:
    """Raises EngineError where a column without a name holds something. names: without those of
    nameless columns at the end; columns: with them. The first one is an index."""
    for column in range(2, columns + 1):
        name = names[column - 1] if column <= len(names) else ""
        if not name and _cell(cells, column):
            raise EngineError(
                tr(
                    "{source}, row {number} holds {cell} in column {column}, which has no "
                    "name in the header.",
                    source=source,
                    number=number,
                    cell=f"{_cell(cells, column)[:40]!r}",
                    column=column,
                ),
                tr("{remedy} Or name the column.", remedy=tr(_REMEDY)),
            )


def _refuse_names_twice(names: list[str], source: str) -> None:
    twice = sorted(name for name, count in Counter(names).items() if name and count > 1)
    if twice:
        raise EngineError(
            tr(
                "{source} names a column twice: {twice}.", source=source, twice=", ".join(twice[:5])
            ),
            tr(_NAME_THEM),
        )


def _cell(cells: list[str], column: int) -> str:
    return cells[column - 1] if column <= len(cells) else ""


def _fitted(cells: list[str], names: list[str], number: int, source: str) -> list[str]:
    """A record's cells, as many as there are names; only empty ones may be too many."""
    if len(cells) < len(names) or any(cells[len(names) :]):
        shown = ", ".join(name or tr("(no name)") for name in names[:12])
        raise EngineError(
            tr(
                "{source}, row {number} has {count} cells where the header has {count_2} "
                "({shown}).",
                source=source,
                number=number,
                count=len(cells),
                count_2=len(names),
                shown=shown,
            ),
            tr(_REMEDY),
        )
    return cells[: len(names)]
