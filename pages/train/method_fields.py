"""What the chosen method reads: its own fields, and which of LoRA's.

A field of another method stays in the form with its value, hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import gradio as gr

from lora_engine.language import tr
from lora_engine.spec import USED_BY, FinetuningType, RunSpec, suited_learning_rate
from pages.shared.forms import SpecForm
from pages.shared.spec_fields import info_of
from pages.shared.wiring import Update, wire
from pages.train.method_cards import BASE, KIND, NAMES

FIELDS = (
    "freeze_layers",
    "galore_every",
    "galore_scale",
    "virtual_tokens",
    "prompt_text",
    "encoder_size",
    "prefix_projection",
    "bottleneck_size",
    "bottleneck_activation",
    "vera_d_initial",
    "projection_seed",
)
OF_LORA_TOO = ("rank", "alpha", "dropout", "target_modules")  # these stand with LoRA's


def lay_out(form: SpecForm, width: int) -> gr.HTML:
    """The fields that methods other than LoRA read; returns the line about the chosen one."""
    note = gr.HTML(elem_id="method-note", js_on_load="")
    form.field(KIND, visible="hidden")  # the cards choose it
    with gr.Row(elem_classes="rs-fields"):
        for name in FIELDS:
            form.field(f"method.{name}", min_width=width, visible=False)
    return note


def connect(note: gr.HTML, form: SpecForm, blocks: gr.Blocks, problem: gr.HTML) -> None:
    """Let the fields and the line follow the method and the base model."""
    kind, base = form.component(KIND), form.component(BASE)
    fields = {name: form.component(f"method.{name}") for name in FIELDS}

    def follow(chosen: FinetuningType, base_model: str) -> Update:
        used = USED_BY.get(chosen, ())
        shown: Update = {field: type(field)(visible=name in used) for name, field in fields.items()}
        return {**shown, note: as_html(chosen, base_model)}

    triggers = [blocks.load, kind.change, base.change]
    outputs: Sequence[gr.components.Component] = [*fields.values(), note]
    wire(triggers, follow, [kind, base], outputs, problem=problem, keeps_problem=True, queue=False)


def as_html(method: FinetuningType, base_model: str) -> str:
    """Which of LoRA's fields the method reads, and the learning rate to start from."""
    if method == "lora":
        return ""
    read = [info_of(RunSpec, f"method.{name}").title or name for name in OF_LORA_TOO
            if name in USED_BY[method]]  # fmt: skip
    of_lora = ", ".join(tr(name) for name in read) or tr("none")
    rate = suited_learning_rate(base_model or "", method)
    words = tr(
        "{method}: start with a learning rate of {rate}. Fields of LoRA that it reads: {fields}.",
        method=tr(NAMES[method]),
        rate=f"{rate:g}",
        fields=of_lora,
    )
    return f'<p class="rs-scaling">{escape(words)}</p>'
