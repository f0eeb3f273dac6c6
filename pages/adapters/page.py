"""The adapters page: what has been trained here and what can be done with each."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from lora_engine.adapters import AdapterSummary
from lora_engine.engine import Engine
from pages import ADAPTERS, COMPARE
from pages.shared import layout, live
from pages.shared.no_adapter import no_adapter_html
from pages.shared.wiring import Update, problem_box, wire

HELP = r"""
An adapter is two thin matrices $A$ and $B$ for each weight it was trained on, and nothing of the
base model: it is small, and it works only with the base it was trained on. It is kept as PEFT
writes it (`adapter_model.safetensors`, `adapter_config.json`), so `PeftModel.from_pretrained`
loads it, beside a `provenance.json` that says which run, base and rows it came from.

Adapters are found in finished runs and in the folder `adapters` of the data folder.
"""
COLUMNS = (
    live.Column("adapter"),
    live.Column("base model"),
    live.Column("rank", layout.count, numeric=True),
    live.Column("size", layout.byte_size, numeric=True),
    live.Column("made (UTC)", lambda text: text[:16].replace("T", " ")),
    live.Column("run"),
    live.Column("folder"),
)


def build(engine: Engine) -> gr.Blocks:
    with layout.shell(ADAPTERS) as blocks:
        problem = problem_box()
        empty = gr.HTML(js_on_load="")
        table = live.live_table(label="Adapters", file_name="adapters.csv", elem_id="all-adapters")
        unreadable = gr.HTML(js_on_load="", elem_id="unreadable-adapters")
        layout.how_this_works(HELP)

        def open_page() -> Update:
            found = engine.adapters.list()
            words = "A finished run leaves its adapter here."
            return {
                empty: "" if found else no_adapter_html(engine, words),
                table: _table_value(found) if found else "",
                unreadable: layout.notes_html(
                    [f"{one.path}: {one.problem}" for one in engine.adapters.unreadable()]
                ),
            }

        wire([blocks.load], open_page, [], [empty, table, unreadable], problem=problem)
    return blocks


def _table_value(adapters: Sequence[AdapterSummary]) -> str:
    """The table of all adapters; a name leads to its comparison with the base."""
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
    links = [layout.link(COMPARE, adapter=adapter.name) for adapter in adapters]
    return live.table_value(COLUMNS, rows, links=links)
