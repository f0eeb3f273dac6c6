"""Which reading of a text table is meant, where its marks allow several.

The one under which every cell is a number is taken; two that give different numbers are refused,
and so is prose. Knows nothing of files or of what becomes of the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from lora_engine.weights.text_numbers import is_explained, number
from lora_engine.weights.text_table import Reading, readings, split_lines

SAMPLE_CHARACTERS = 65_536
_SPACED_THOUSANDS = re.compile(
    "(?<![0-9.,])[1-9][0-9]{0,2}(?: 0[0-9]{2}|[\u00a0\u2009\u202f][0-9]{3})(?![0-9])"
)
HOW = translatable(
    "Give one line for each row, its numbers separated by commas, semicolons, tabs or spaces."
)


def choose_reading(lines: Sequence[tuple[int, str]], declared: str | None, name: str) -> Reading:
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
            tr(HOW),
        )
