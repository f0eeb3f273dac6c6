"""What stands in the first rows of the chosen file, column by column. Everything is escaped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

MOST_COLUMNS = 40
MOST_CHARACTERS = 120


def as_html(records: Sequence[Any]) -> str:
    """A table of the columns, and their values in each of these records; empty without columns."""
    objects = [record for record in records if isinstance(record, dict)]
    if not objects:
        return ""
    columns = list(dict.fromkeys(str(name) for record in objects for name in record))
    heads = "".join(f'<th scope="col">row {place}</th>' for place in range(1, len(objects) + 1))
    rows = "".join(_row(column, objects) for column in columns[:MOST_COLUMNS])
    more = len(columns) - MOST_COLUMNS
    rest = f'<p class="rs-row-note">{more:,} more columns</p>' if more > 0 else ""
    return (
        '<div class="rs-columns-table rs-first-records" tabindex="0" role="region" '
        'aria-label="The file\'s own columns"><table><thead><tr><th scope="col">column</th>'
        f"{heads}</tr></thead><tbody>{rows}</tbody></table></div>{rest}"
    )


def _row(column: str, records: Sequence[dict[Any, Any]]) -> str:
    cells = "".join(f"<td>{escape(_shown(record.get(column)))}</td>" for record in records)
    return f'<tr><th scope="row">{escape(column[:MOST_CHARACTERS])}</th>{cells}</tr>'


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=repr, ensure_ascii=False)
    text = " ".join(text[: 4 * MOST_CHARACTERS].split())
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 2] + " …"
