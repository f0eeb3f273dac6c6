"""What stands in the first rows of the chosen file, column by column. Everything is escaped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from lora_engine.language import tr, tr_count

MOST_COLUMNS = 40
MOST_CHARACTERS = 120


def as_html(records: Sequence[Any]) -> str:
    """A table of the columns, and their values in each of these records; empty without columns."""
    objects = [record for record in records if isinstance(record, dict)]
    if not objects:
        return ""
    columns = list(dict.fromkeys(str(name) for record in objects for name in record))
    names = [tr("column"), *(tr("row {number}", number=1 + place) for place in range(len(objects)))]
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = "".join(_row(column, objects) for column in columns[:MOST_COLUMNS])
    more = len(columns) - MOST_COLUMNS
    rest = ""
    if more > 0:
        note = tr_count("{count} more column", "{count} more columns", more)
        rest = f'<p class="rs-row-note">{escape(note)}</p>'
    region = escape(tr("The file's own columns"))
    return (
        '<div class="rs-columns-table rs-first-records" tabindex="0" role="region" '
        f'aria-label="{region}"><table><thead><tr>'
        f"{heads}</tr></thead><tbody>{rows}</tbody></table></div>{rest}"
    )


def _row(column: str, records: Sequence[dict[Any, Any]]) -> str:
    shown = [escape(_shown(record.get(column))) for record in records]
    cells = "".join(f'<td translate="no">{text}</td>' for text in shown)
    name = escape(column[:MOST_CHARACTERS])
    return f'<tr><th scope="row" translate="no">{name}</th>{cells}</tr>'


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=repr, ensure_ascii=False)
    text = " ".join(text[: 4 * MOST_CHARACTERS].split())
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 2] + " …"
