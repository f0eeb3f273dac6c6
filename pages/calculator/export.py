"""What the person takes from the calculator: a LoraConfig, a spec, and the way to Train."""

from __future__ import annotations

from html import escape

import gradio as gr

from lora_engine import calculator
from lora_engine.errors import EngineError
from pages.calculator.choices import UPLOADED, Chosen
from pages.shared import layout
from pages.shared.train_link import address_of


def parts() -> list[gr.components.Component]:
    """The section's outputs, in the order of `view`."""
    way = gr.HTML(js_on_load="", elem_id="train-this")
    with gr.Row():
        snippet = gr.Textbox(
            label="As a LoraConfig of PEFT", lines=8, max_lines=12, interactive=False,
            buttons=["copy"], min_width=320, elem_id="lora-config",
        )  # fmt: skip
        spec = gr.Textbox(
            label="As the spec of a run", lines=8, max_lines=12, interactive=False,
            buttons=["copy"], min_width=320, elem_id="run-spec",
        )  # fmt: skip
    return [way, snippet, spec]


def view(chosen: Chosen, counted: calculator.ModelCount) -> tuple[str, str, str]:
    snippet = calculator.lora_config_snippet(counted)
    try:
        base = "path/to/the/model" if chosen.name == UPLOADED else chosen.name
        spec = calculator.run_spec(calculator.trainable_name(base), counted, chosen.question)
    except EngineError as error:
        return layout.notes_html([str(error)]), snippet, ""
    if chosen.name == UPLOADED:
        note = "A config alone has no weights to train: name the model's folder in the spec."
        return layout.notes_html([note]), snippet, spec.model_dump_json(indent=1)
    address = address_of(spec)
    way = f'<a class="rs-button" href="{escape(address)}">Train this</a>'
    return way, snippet, spec.model_dump_json(indent=1)
