"""A whole sweep is deleted, after a question: its runs with all that they made.

Knows nothing of what else the tab shows: the page opens anew afterwards, without a judgement or a
proposal of what is gone.
"""

from __future__ import annotations

import gradio as gr

from lora_engine.engine import Engine
from pages import RUNS
from pages.runs import controls, sweep_content
from pages.shared import layout
from pages.shared.questions import wire_taking_back
from pages.shared.static_files import event_js
from pages.shared.wiring import Update, wire


def connect(
    engine: Engine,
    deletion: controls.Deletion,
    shown_id: gr.Textbox,
    ask: gr.Button,
    problem: gr.HTML,
) -> None:
    """Ask about the sweep that is shown, then delete the one that was asked about."""
    address = gr.Textbox(visible=False)

    def ask_to_delete_sweep(sweep_id: str) -> Update:
        view = engine.sweeps.get(sweep_id)
        return {
            deletion.group: gr.Column(visible=True),
            deletion.question: sweep_content.deletion_question(view),
            deletion.asked_id: view.id,
        }

    def delete_sweep(sweep_id: str) -> Update:
        engine.sweeps.delete(sweep_id)
        return {deletion.group: gr.Column(visible=False), address: layout.link(RUNS, tab="sweeps")}

    question = [deletion.group, deletion.question, deletion.asked_id]
    wire([ask.click], ask_to_delete_sweep, [shown_id], question, problem=problem)
    wire_taking_back(deletion.keep.click, deletion.group, deletion.asked_id)
    outputs = [deletion.group, address]
    sure = [deletion.sure.click]
    deleted = wire(sure, delete_sweep, [deletion.asked_id], outputs, problem=problem)
    deleted.then(
        fn=None, inputs=[address], js=event_js("shared/address.js", "go"),
        api_name="page_leave_sweep", api_visibility="private",
    )  # fmt: skip
