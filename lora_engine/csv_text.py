"""A table as CSV text to take away: the one writer of it in the engine.

A spreadsheet runs a cell that looks like a formula, so such a cell gets a quote in front. The
pages write tables by the same rule, in `pages/shared/static/csv.js`. Knows nothing of what the
tables say.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

# What no spreadsheet looks at may stand before a formula; some read full-width signs as plain ones.
_FORMULA = re.compile("[\\s\x00-\x1f\u200b\ufeff]*[=+\\-@＝＋－＠]|[\t\r\n]")  # noqa: RUF001


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """One line a row. Numbers stay numbers; text that a spreadsheet would run is quoted."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")  # quotes either in a cell
    writer.writerows([inert(cell) for cell in row] for row in rows)
    return text.getvalue()


def inert(cell: object) -> object:
    """A cell that no spreadsheet runs as a formula."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell
