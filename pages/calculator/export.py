"""What the person takes from the calculator: a LoraConfig, a spec, and the way to Train."""

from __future__ import annotations

from html import escape

import gradio as gr

from lora_engine import calculator
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from pages.calculator.form import UPLOADED, Selection
from pages.shared import layout
from pages.shared.train_link import address_of
from pages.shared.wiring import Update

NO_WEIGHTS = translatable(
    "A config alone has no weights to train: name the model's folder in the spec."
)


class ExportPart:
    """The way to the train page, and two texts to copy."""

    def __init__(self) -> None:
        self.way = gr.HTML(js_on_load="", elem_id="train-this")
        with gr.Row(elem_classes="rs-texts"):
            self.snippet = _text(tr("As a LoraConfig of PEFT"), "lora-config")
            self.spec = _text(tr("As the spec of a run"), "run-spec")
        self.outputs = [self.way, self.snippet, self.spec]

    def update(self, selection: Selection, counted: calculator.ModelCount) -> Update:
        snippet = calculator.lora_config_snippet(counted)
        is_uploaded = selection.name == tr(UPLOADED)
        base = "path/to/the/model" if is_uploaded else selection.name
        try:
            spec = calculator.run_spec(calculator.trainable_name(base), counted, selection.request)
        except EngineError as error:
            return {
                self.way: layout.notes_html([str(error)]),
                self.snippet: snippet,
                self.spec: "",
            }
        words = escape(tr("Train this"))
        button = f'<a class="rs-button" href="{escape(address_of(spec))}">{words}</a>'
        return {
            self.way: layout.notes_html([tr(NO_WEIGHTS)]) if is_uploaded else button,
            self.snippet: snippet,
            self.spec: spec.model_dump_json(indent=1),
        }


def _text(label: str, elem_id: str) -> gr.Textbox:
    return gr.Textbox(
        label=label,
        lines=7,
        max_lines=12,
        interactive=False,
        buttons=["copy"],
        min_width=240,
        elem_id=elem_id,
    )
