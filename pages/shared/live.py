"""Factories for the parts of a page that Gradio has no good component for.

Each is a `gr.HTML` whose value is one JSON document, drawn by a module in `static`: a plot that
keeps its zoom while it is fed, a table that sorts and downloads, a matrix at every rank.
Templates are constant and the modules set text, never markup, so nothing in a value can become
HTML. What to draw is made by `pages.shared.figures` and by the pages; nothing here computes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

import gradio as gr

from lora_engine.language import tr
from pages.shared.static_files import call_js, event_js

Cell = str | int | float | bool | None


def live_plot(
    value: str = "",
    *,
    label: str,
    height: int = 320,
    elem_id: str | None = None,
    only_in_sight: bool = False,
) -> gr.HTML:
    """A Plotly plot that is an output like any other: give it `figures.to_json(figure)`.

    A zoom or a hidden trace survives new values (as long as the figure's `uirevision` stays),
    the colours follow the page's light or dark mode, the width follows the page. `label` is what
    a screen reader hears, followed by the figure's own `layout.meta.description`. An empty value
    takes no room: give an empty figure where data is still to come, so that nothing jumps.

    only_in_sight: for a plot that is fed by itself. New values are drawn while somebody sees it,
    and at a pace that leaves the processor to the training.
    """
    return gr.HTML(
        value=value,
        html_template=f'<div class="rs-plot" role="group" tabindex="0" style="height:{height}px" '
        f'aria-label="{_literal(label)}" data-label="{_literal(label)}" hidden></div>',
        js_on_load=call_js("shared/plot.js", "plot", only_in_sight),
        elem_classes="rs-plot-holder",
        elem_id=elem_id,
        apply_default_css=False,
    )


def rank_picture(value: str, *, elem_id: str) -> gr.HTML:
    """Numbers, blocks to scale and bars of one matrix, for every rank at once.

    Its value is made by the calculator page: the frames of the first ranks, that of the chosen
    one, and the end of the range in the field of the rank. The browser shows a rank whose frame it
    has without asking the server when `show_rank_js(elem_id)` runs.
    """
    return gr.HTML(
        value=value,
        html_template=f'<div class="rs-rank" data-id="{_literal(elem_id)}"></div>',
        js_on_load=call_js("shared/rank_picture.js", "rankPicture"),
        elem_id=elem_id,
        apply_default_css=False,
    )


def rank_tiles(value: str, *, elem_id: str) -> gr.HTML:
    """A row of numbers for every rank at once: the value is `rank_tiles_value`'s."""
    return gr.HTML(
        value=value,
        html_template=f'<div class="rs-rank-tiles" data-id="{_literal(elem_id)}"></div>',
        js_on_load=call_js("shared/rank_picture.js", "rankTiles"),
        elem_id=elem_id,
        apply_default_css=False,
    )


def rank_tiles_value(
    chosen: Sequence[tuple[str, str, str]], frames: Sequence[Sequence[str]] = ()
) -> str:
    """JSON for `rank_tiles`: the tiles (label, value, note), and their values from rank 1 on."""
    return json.dumps({"chosen": chosen, "frames": frames}, separators=(",", ":"))


def show_rank_js(elem_id: str) -> str:
    """JavaScript for `rank.input(fn=None, inputs=[rank, d, k], js=…)`, d and k of a matrix alone.

    Where the picture cannot show that rank itself it triggers its `.input`, to ask the server.
    """
    return event_js("shared/rank_picture.js", "showRank", elem_id)


def number_range(field: gr.Number, least: float, most: float, step: float = 1) -> None:
    """A range under a number field, from least to most, for what is moved rather than typed.

    The number itself has no bounds: what is typed stays, and the engine says what is allowed.
    """
    gr.HTML(
        js_on_load=call_js("shared/range.js", "range", field.elem_id, least, most, step),
        elem_classes="rs-range-holder",
        apply_default_css=False,
    )
    field.change(
        fn=None,
        js=event_js("shared/range.js", "showNumber", field.elem_id),
        api_name="page_show_number",
        api_visibility="private",
    )


@dataclass(frozen=True)
class Column:
    """One column of a live table.

    show: turns a value into what stands on the screen; the download has the whole value.
    numeric: sorted as numbers and aligned to the right. aside: shown where the person asks for
    all columns; the download has it anyway.
    """

    label: str
    show: Callable[[Any], str] = str
    numeric: bool = False
    aside: bool = False


@dataclass(frozen=True)
class Ticks:
    """A tick box in front of each row of a live table.

    keys: what each row is called; ticked: the keys that start ticked; fixed: the key of a row
    that is always ticked; most: how many others can be; label: what a tick does.
    """

    keys: Sequence[str]
    ticked: Sequence[str]
    fixed: str
    most: int
    label: str


def live_table(
    value: str = "", *, label: str, file_name: str, elem_id: str | None = None
) -> gr.HTML:
    """A table with sortable columns and a CSV download; give it `table_value(…)`.

    `label` is its caption for screen readers, `file_name` the download's name. `.input(handler)`
    comes when the person ticked a row; `ticked_in(value)` reads which are.
    """
    return gr.HTML(
        value=value,
        html_template=f'<div class="rs-table" data-label="{_literal(label)}" '
        f'data-file="{_literal(file_name)}"></div>',
        js_on_load=call_js("shared/table.js", "table"),
        elem_classes="rs-table-holder",
        elem_id=elem_id,
        apply_default_css=False,
    )


def table_value(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    *,
    links: Sequence[str | None] = (),
    empty: str = "",
    ticks: Ticks | None = None,
) -> str:
    """The JSON for a live table: one tuple of values a row, in the order of `columns`.

    links: one address on this server a row (see `layout.link`), put on the row's first cell.
    None in a cell is shown as a dash and left empty in the download. Labels of columns are
    said in the present language. empty: what stands there without rows.
    """
    shown = [
        [
            "–" if cell is None else column.show(cell)
            for column, cell in zip(columns, row, strict=True)
        ]
        for row in rows
    ]
    document = {
        "columns": [
            {"label": tr(column.label), "numeric": column.numeric, "aside": column.aside}
            for column in columns
        ],
        "rows": [
            {"raw": [_finite(cell) for cell in row], "shown": texts}
            for row, texts in zip(rows, shown, strict=True)
        ],
        "links": list(links),
        "empty": empty or tr("Nothing here yet."),
        "ticks": None if ticks is None else asdict(ticks),
    }
    return json.dumps(document)


def ticked_in(value: str) -> list[str]:
    """The keys that are ticked in what a browser says is the table's value; untrusted."""
    try:
        ticked = json.loads(value)["ticks"]["ticked"]
    except (ValueError, TypeError, KeyError):
        return []
    return [key for key in ticked if isinstance(key, str)] if isinstance(ticked, list) else []


def _finite(cell: Cell) -> Cell:
    """JSON has no NaN and no infinity: they are sent as their names."""
    if isinstance(cell, float) and (cell != cell or abs(cell) == float("inf")):
        return str(cell)
    return cell


def _literal(text: str) -> str:
    """Text for an attribute in a template: `{`, `}`, `$` and the backtick would be code there."""
    return escape(text).translate({ord(sign): f"&#{ord(sign)};" for sign in "{}$`\\"})
