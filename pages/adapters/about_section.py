"""The tab "About": one adapter opened, with what it is and what can be done with it."""

from __future__ import annotations

import gradio as gr

from lora_engine.engine import Engine
from pages.adapters.parts import AdapterParts, opened_adapter
from pages.shared import layout
from pages.shared.wiring import Update, problem_box, wire


def build_section(engine: Engine, parts: AdapterParts, blocks: gr.Blocks) -> None:
    problem = problem_box()
    facts = gr.HTML(js_on_load="", elem_id="adapter-facts")

    def open_adapter(request: gr.Request) -> Update:
        found = opened_adapter(engine, request)
        if found is None:
            return {facts: ""}
        tiles = [
            ("Rank", layout.count(found.rank), found.base_model or "of an unnamed base"),
            ("Size", layout.byte_size(found.bytes), str(found.path)),
        ]
        return {facts: layout.tiles_html(tiles)}

    wire([blocks.load], open_adapter, [], [facts], problem=problem)
