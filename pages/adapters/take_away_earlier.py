"""The exports that are in the data folder: each with its zip, and a way to delete it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from pages.adapters.routes import export_zip_address
from pages.shared import layout
from pages.shared.live import Column, live_table, table_value
from pages.shared.questions import wire_taking_back
from pages.shared.wiring import Update, problem_box, wire

COLUMNS = (
    Column(translatable("export")),
    Column(translatable("size"), layout.byte_size, numeric=True),
    Column(translatable("written (UTC)"), lambda text: text[:16].replace("T", " ")),
    Column(translatable("folder")),
)


@dataclass(frozen=True)
class EarlierExports:
    """The list, and the question before one is deleted."""

    table: gr.HTML
    name: gr.Dropdown
    ask: gr.Button
    group: gr.Column
    question: gr.HTML
    sure: gr.Button
    keep: gr.Button
    problem: gr.HTML


def earlier_exports() -> EarlierExports:
    with layout.folded(tr("Exports in the data folder"), elem_id="earlier-exports"):
        table = live_table(label=tr("Exports"), file_name="exports.csv", elem_id="exports-table")
        with gr.Row(elem_classes="rs-actions"):
            name = gr.Dropdown([], label=tr("Export"), elem_id="exports-name", min_width=260)
            ask = gr.Button(tr("Delete this export…"), size="sm", elem_id="exports-delete")
        problem = problem_box()
        with gr.Column(visible=False) as group:
            question = gr.HTML(js_on_load="")
            with gr.Row():
                sure = gr.Button(tr("Delete for good"), variant="stop", size="sm")
                keep = gr.Button(tr("Keep it"), size="sm")
    return EarlierExports(table, name, ask, group, question, sure, keep, problem)


def connect(
    engine: Engine, earlier: EarlierExports, blocks: gr.Blocks
) -> Callable[[Callable[..., Any]], Any]:
    """Fill the list as the page opens; returns what lists again after another event."""
    written = engine.exports.written

    def list_exports() -> Update:
        found = written.list()
        rows = [(one.name, one.bytes, one.written_at, str(one.path)) for one in found]
        links = [export_zip_address(one.name) for one in found]
        empty = tr("Nothing is exported yet.")
        return {
            earlier.table: table_value(COLUMNS, rows, links=links, empty=empty),
            earlier.name: gr.Dropdown(choices=[one.name for one in found], value=None),
        }

    def ask_to_delete(name: str | None) -> Update:
        if not name:
            raise EngineError(tr("No export is chosen."), tr("Choose one beside the button."))
        words = tr("Delete {name} for good? Nothing brings it back.", name=name)
        return {
            earlier.group: gr.Column(visible=True),
            earlier.question: layout.notes_html([words]),
        }

    def delete_export(name: str | None) -> Update:
        written.delete(name or "")
        return {earlier.group: gr.Column(visible=False), **list_exports()}

    listed = [earlier.table, earlier.name]
    wire([blocks.load], list_exports, [], listed, problem=earlier.problem)
    asked = [earlier.group, earlier.question]
    wire([earlier.ask.click], ask_to_delete, [earlier.name], asked, problem=earlier.problem)
    for taken_back in (earlier.keep.click, earlier.name.input):
        wire_taking_back(taken_back, earlier.group)
    outputs = [earlier.group, *listed]
    wire([earlier.sure.click], delete_export, [earlier.name], outputs, problem=earlier.problem)
    return lambda then: wire(then, list_exports, [], listed, problem=earlier.problem)
