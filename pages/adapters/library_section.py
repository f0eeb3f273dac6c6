"""The tab "Library": every adapter in a table, found by words and tags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_engine.adapters import AdapterSummary
from lora_engine.engine import Engine
from pages import ADAPTERS
from pages.adapters.parts import adapter_choices
from pages.shared import layout, live
from pages.shared.no_adapter import no_adapter_html
from pages.shared.wiring import Update, problem_box, wire

COLUMNS = (
    live.Column("adapter"),
    live.Column("base model"),
    live.Column("rank", layout.count, numeric=True),
    live.Column("size", layout.byte_size, numeric=True),
    live.Column("made (UTC)", lambda text: text[:16].replace("T", " ")),
    live.Column("run"),
    live.Column("folder"),
)


@dataclass(frozen=True)
class LibraryList:
    """The list's parts."""

    empty: gr.HTML
    table: gr.HTML
    unreadable: gr.HTML
    problem: gr.HTML

    @property
    def outputs(self) -> list[gr.HTML]:
        return [self.empty, self.table, self.unreadable]


def lay_out() -> LibraryList:
    problem = problem_box()
    return LibraryList(
        empty=gr.HTML(js_on_load=""),
        table=live.live_table(label="Adapters", file_name="adapters.csv", elem_id="all-adapters"),
        unreadable=gr.HTML(js_on_load="", elem_id="unreadable-adapters"),
        problem=problem,
    )


def connect(
    engine: Engine, library: LibraryList, adapter: gr.Dropdown, blocks: gr.Blocks
) -> Callable[[Callable[..., Any]], Any]:
    """Fill the list as the page opens. Returns what lists again after another event."""

    def list_adapters() -> Update:
        found = engine.adapters.list()
        words = "A finished run leaves its adapter here; one made elsewhere is added below."
        return {
            library.empty: "" if found else no_adapter_html(engine, words),
            library.table: _table_value(found) if found else "",
            library.unreadable: layout.notes_html(
                [f"{one.path}: {one.problem}" for one in engine.adapters.unreadable()]
            ),
        }

    def list_again() -> Update:
        return {**list_adapters(), adapter: gr.Dropdown(choices=adapter_choices(engine))}

    wire([blocks.load], list_adapters, [], library.outputs, problem=library.problem)
    outputs = [*library.outputs, adapter]
    return lambda then: wire(then, list_again, [], outputs, problem=library.problem)


def _table_value(adapters: Sequence[AdapterSummary]) -> str:
    """The table of all adapters; a name opens it."""
    rows = [
        (
            adapter.name,
            adapter.base_model,
            adapter.rank,
            adapter.bytes,
            adapter.created_at,
            adapter.run_id,
            str(adapter.path),
        )
        for adapter in adapters
    ]
    links = [layout.link(ADAPTERS, adapter=adapter.name) for adapter in adapters]
    return live.table_value(COLUMNS, rows, links=links)
