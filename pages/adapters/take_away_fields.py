"""The fields of the take-away tab, and where it shows what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, get_args

import gradio as gr
from gradio.components import Component

from lora_engine.export import (
    DTYPE_HELP,
    FORM_WORDS,
    MEASURE_HELP,
    PRIVATE_HELP,
    PUSH_HELP,
    REQUANTIZATIONS,
    REQUANTIZED_HELP,
    SYSTEM_HELP,
    WITH_BASE_HELP,
    DType,
    HubTarget,
)
from lora_engine.language import tr, translatable
from pages.adapters.take_away_work import ExportChoice, export_choice
from pages.adapters.writing import OutputFields, output_fields
from pages.shared import layout
from pages.shared.live import live_table

AS_THE_BASE = translatable("as the base stores them")
TOKEN_HELP = translatable(
    "The token is the server's own: HF_TOKEN in its environment, else its login to the hub. "
    "It is never shown."
)


@dataclass(frozen=True)
class ExportFields:
    """In which form, how, and under which name."""

    form: gr.Radio
    dtype: gr.Dropdown
    system: gr.Textbox
    with_base: gr.Checkbox
    base: gr.Textbox
    measure: gr.Checkbox
    requantized: gr.CheckboxGroup
    output: OutputFields

    @property
    def inputs(self) -> set[Component]:
        return {
            self.form, self.dtype, self.system, self.with_base, self.base, self.measure,
            self.requantized, self.output.name,
        }  # fmt: skip

    def read(self, values: Mapping[Component, Any]) -> ExportChoice:
        """What the fields say. Raises InvalidInput."""
        return export_choice(
            name=values[self.output.name],
            form=values[self.form],
            base=values[self.base],
            dtype=values[self.dtype],
            system=values[self.system],
            with_base=values[self.with_base],
            measure=values[self.measure],
            requantized=values[self.requantized],
        )


@dataclass(frozen=True)
class PushFields:
    """To which repository of the hub; the question before anything is sent, and its answers."""

    repository: gr.Textbox
    seen_by: gr.Radio
    ask: gr.Button
    group: gr.Column
    question: gr.HTML
    push: gr.Button
    replace: gr.Button
    leave: gr.Button

    @property
    def inputs(self) -> set[Component]:
        return {self.repository, self.seen_by}

    def read(self, values: Mapping[Component, Any]) -> HubTarget:
        """Where to push to."""
        return HubTarget(values[self.repository].strip(), values[self.seen_by] != "public")


@dataclass(frozen=True)
class ExportView:
    """What came out: where it is, what it kept, where it loads, where to go with it."""

    written: gr.HTML
    fidelity: gr.HTML
    loads_heading: gr.HTML
    loads: gr.HTML
    commands: gr.Code
    next_steps: gr.HTML

    @property
    def outputs(self) -> list[gr.HTML | gr.Code]:
        return [
            self.written, self.fidelity, self.loads_heading, self.loads, self.commands,
            self.next_steps,
        ]  # fmt: skip


def rules_table(elem_id: str, label: str) -> gr.HTML:
    """An empty table of programs."""
    with gr.Column(elem_classes="rs-load-rules"):
        return live_table(label=label, file_name="where-it-loads.csv", elem_id=elem_id)


def export_fields() -> ExportFields:
    form = gr.Radio(
        [
            (tr("{form}: {words}", form=name, words=tr(words)), name)
            for name, words in FORM_WORDS.items()
        ],
        value="portable", label=tr("Form"), elem_id="take-away-form", elem_classes="rs-lines",
    )  # fmt: skip
    dtype = gr.Dropdown(
        [(tr(AS_THE_BASE), ""), *((name, name) for name in get_args(DType))], value="",
        visible=False, label=tr("Numbers of the weights"), info=tr(DTYPE_HELP),
        elem_id="take-away-dtype",
    )  # fmt: skip
    system = gr.Textbox(
        "", visible=False, label=tr("System text"), info=tr(SYSTEM_HELP), lines=2, max_lines=8,
        elem_id="take-away-system",
    )  # fmt: skip
    with_base = gr.Checkbox(
        False, visible=False, label=tr("The base too"), info=tr(WITH_BASE_HELP),
        elem_id="take-away-with-base",
    )  # fmt: skip
    with layout.folded(tr("Base and measurement")):
        base = gr.Textbox(
            "", label=tr("Base model"), placeholder=tr("the one it was trained on"),
            info=tr("Another name or folder of the same base."), elem_id="take-away-base",
        )  # fmt: skip
        measure = gr.Checkbox(
            True, label=tr("Measure what the export kept"), info=tr(MEASURE_HELP),
            elem_id="take-away-measure",
        )  # fmt: skip
        requantized = gr.CheckboxGroup(
            [*REQUANTIZATIONS], value=[], label=tr("On a requantized base"),
            info=tr(REQUANTIZED_HELP), elem_id="take-away-requantized",
        )  # fmt: skip
    output = output_fields(
        "take-away",
        tr("Export"),
        tr("It goes into exports/NAME of the data folder: letters, digits, _, . and -."),
    )
    return ExportFields(form, dtype, system, with_base, base, measure, requantized, output)


def push_fields() -> PushFields:
    with layout.folded(tr("Push to the model hub"), elem_id="take-away-push"):
        with gr.Row():
            repository = gr.Textbox(
                "", label=tr("Repository"), placeholder="OWNER/NAME", info=tr(PUSH_HELP), scale=2,
                min_width=260, elem_id="push-repository",
            )  # fmt: skip
            seen_by = gr.Radio(
                [
                    (tr("me and my organization (private)"), "private"),
                    (tr("everybody (public)"), "public"),
                ],
                value="private", label=tr("Seen by"), info=tr(PRIVATE_HELP), scale=2, min_width=260,
                elem_id="push-seen-by",
            )  # fmt: skip
        gr.HTML(f'<p class="rs-doing">{escape(tr(TOKEN_HELP))}</p>', js_on_load="")
        ask = gr.Button(tr("Push…"), elem_id="push-ask")
        with gr.Column(visible=False, elem_id="push-group") as group:
            question = gr.HTML(js_on_load="", elem_id="push-question")
            with gr.Row():
                push = gr.Button(tr("Push it"), variant="primary", size="sm", elem_id="push-sure")
                replace = gr.Button(
                    tr("Replace what the repository holds"), variant="stop", size="sm",
                    visible=False,
                    elem_id="push-replace",
                )  # fmt: skip
                leave = gr.Button(tr("Do not push"), size="sm", elem_id="push-leave")
    return PushFields(repository, seen_by, ask, group, question, push, replace, leave)


def export_view() -> ExportView:
    return ExportView(
        written=gr.HTML(elem_id="take-away-written", js_on_load=""),
        fidelity=gr.HTML(elem_id="take-away-fidelity", js_on_load=""),
        loads_heading=gr.HTML(elem_classes="rs-section", js_on_load=""),
        loads=rules_table("take-away-loads", tr("Where the export loads")),
        commands=gr.Code(
            "", language="shell", label=tr("Commands that serve it"), interactive=False,
            elem_id="take-away-commands", show_line_numbers=False, buttons=["copy"],
            wrap_lines=True,
        ),
        next_steps=gr.HTML(elem_id="take-away-next", js_on_load=""),
    )  # fmt: skip
