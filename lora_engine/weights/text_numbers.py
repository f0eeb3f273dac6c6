"""One cell of a text table as a number, in either spelling of the decimal mark.

decimal ".": 1234.5, 1,234.5, 1 234.5, 1'234.5, 1e-3; decimal ",": 1234,5, 1.234,5, 1 234,5. Marks
of thousands stand before groups of exactly three digits. The minus sign may be U+2212 or an en
dash. Knows nothing of rows or columns.
"""

from __future__ import annotations

import re
from typing import Literal

from lora_engine.language import tr, translatable

Decimal = Literal[".", ","]

MAX_EXPLAINED = 60
_SPACES = " \u00a0\u2009\u202f"
_SIGNS = str.maketrans({"\u2212": "-", "\u2013": "-"})


def _pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    marks = (re.escape(thousands), f"[{_SPACES}]", "['\u2019]")
    groups = "|".join(rf"[1-9]\d{{0,2}}(?:{mark}\d{{3}})+" for mark in marks)
    # "1." is written by Python and NumPy; "1," is a cell with a separator behind it.
    tail = r"(?:\.\d*)?" if decimal == "." else r"(?:,\d+)?"
    whole = rf"(?:(?:{groups}|\d+){tail}|{re.escape(decimal)}\d+)"
    return re.compile(rf"[+-]?{whole}(?:[eE][+-]?\d+)?", re.ASCII)


_PATTERNS = {".": _pattern(".", ","), ",": _pattern(",", ".")}
_THOUSANDS = {".": re.compile(f"[,{_SPACES}'\u2019]"), ",": re.compile(f"[.{_SPACES}'\u2019]")}
_MISSING = re.compile(
    r"[+-]?(nan|inf|infinity|1\.#inf|1\.#ind|1\.#qnan)|na|n/a|<na>|null|none|nil|missing|void|"
    r"#(n/a|nv|div/0!|name\?|null!|num!|ref!|value!|calc!|spill!|zahl!|wert!)|[-.?*]+",
    re.IGNORECASE,
)
# 1.00-2.00 of columns of a fixed width; 1.5-2 is none, for it may be a range that names a column
_RUN_TOGETHER = r"[+-]?\d*[.,]\d+(e[+-]?\d+)?([+-]\d*[.,]\d+(e[+-]?\d+)?)+"
_WHAT = (
    (
        r"[+-]?[\d.,]+\s*%",
        translatable("a percentage"),
        translatable("Write the number itself, 12 % as 0.12."),
    ),
    (
        r"[+-]?0x[0-9a-f.]+(p[+-]?\d+)?",
        translatable("a hexadecimal number"),
        translatable("Write it as a decimal number."),
    ),
    (
        r"\(?[+-]?[\d.,]*(e[+-]?\d+)?\s*[+-]?\s*[\d.,]*(e[+-]?\d+)?\*?[ij]\)?",
        translatable("a complex number"),
        translatable("Give a real matrix, such as the real part or the modulus."),
    ),
    (
        r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?|\d+:\d\d(:\d\d.*)?",
        translatable("a date or a time"),
        translatable("Leave this column out, or write it as a number."),
    ),
    (r"true|false", translatable("a truth value"), translatable("Write 1 and 0.")),
    (r"=.*", translatable("a formula"), translatable("Save the values instead of the formulas.")),
    (
        r"[$\u20ac\u00a3\u00a5]\s*[\d.,]+|[\d.,]+\s*[$\u20ac\u00a3\u00a5]",
        translatable("an amount of money"),
        translatable("Write the number without its currency."),
    ),
    (
        r"[+-]?[\d.]+d[+-]?\d+",
        translatable("a number with Fortran's exponent d"),
        translatable("Write the exponent as e."),
    ),
    (
        _RUN_TOGETHER,
        translatable("numbers that run into each other"),
        translatable("Put a space or a separator between them."),
    ),
    (
        r"[+-]?\d+/\d+",
        translatable("a fraction"),
        translatable("Write it as a decimal number."),
    ),
    (
        r"[+-]?\d{1,2}(,\d\d)+,\d{3}(\.\d+)?",
        translatable("a number with marks of thousands that do not stand before three digits"),
        translatable("Write the number without them."),
    ),
    (
        r"\([\d.,]+\)|[\d.,]+-",
        translatable("a number in a bookkeeper's spelling"),
        translatable("Write a minus in front."),
    ),
)


def number(cell: str, decimal: Decimal) -> float | None:
    """The cell's value, infinite where it overflows; None where it is no number."""
    cell = cell.translate(_SIGNS)
    if not _PATTERNS[decimal].fullmatch(cell):
        return None
    plain = _THOUSANDS[decimal].sub("", cell)
    return float(plain.replace(",", ".") if decimal == "," else plain)


def has_thousands(cell: str, decimal: Decimal) -> bool:
    """Whether a number is written with marks of thousands."""
    return bool(_THOUSANDS[decimal].search(cell))


def is_missing(cell: str) -> bool:
    """Whether the cell stands for a number that is not there, or is not finite."""
    return not cell or _MISSING.fullmatch(cell) is not None


def is_word(cell: str) -> bool:
    """Whether the cell is neither a number nor a stand-in for one: a name, a sentence."""
    is_number = number(cell, ".") is not None or number(cell, ",") is not None
    return not (is_number or is_missing(cell) or re.fullmatch(_RUN_TOGETHER, cell, re.IGNORECASE))


def is_explained(cell: str) -> bool:
    """Whether the cell is a number, or a stand-in for one, in a spelling that is known."""
    return not is_word(cell) or _what(cell) is not None


def explain(cell: str) -> tuple[str, str]:
    """What a cell that is no finite number holds, and what to do."""
    if not cell:
        return tr("is empty; a finite number is needed"), tr("Fill this cell in.")
    shown = repr(cell[:40])
    what = _what(cell)
    if what is not None:
        kind, remedy = what
        held = tr("holds {cell}, {kind}; a finite number is needed", cell=shown, kind=tr(kind))
        return held, tr(remedy)
    if is_missing(cell):
        return (
            tr("holds {cell}, which is no finite number; a finite number is needed", cell=shown),
            tr("Replace such cells by numbers, or leave out their rows or columns."),
        )
    return (
        tr("holds {cell}; a finite number is needed", cell=shown),
        tr("Correct this cell, or leave out its row or column where it holds names."),
    )


def _what(cell: str) -> tuple[str, str] | None:
    """What kind of number a cell holds that is not read, and what to do."""
    if len(cell) > MAX_EXPLAINED:
        return None
    for pattern, kind, remedy in _WHAT:
        if re.fullmatch(pattern, cell, re.IGNORECASE):
            return kind, remedy
    return None
