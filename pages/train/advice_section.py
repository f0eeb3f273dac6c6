"""The advice on the train page: for the chosen data and base, from the form as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spec import spec_from
from pages.shared import advice_html
from pages.shared.advice_panel import WORKING, AdvicePanel
from pages.shared.forms import SpecForm
from pages.shared.settled_changes import SettledChanges
from pages.shared.wiring import Update, problem_box, wire


def lay_out() -> AdvicePanel:
    """Lay the panel out; `connect` makes it answer."""
    hint = tr("Rows, tokens and the base are read from what is chosen here.")
    title = tr("Which rank? Advice for this data and base")
    return AdvicePanel(title, has_data=True, hint=hint)


def line() -> gr.HTML:
    """The advice in one line, beside the rank; `connect_line` fills it."""
    return gr.HTML(js_on_load="", elem_id="advice-line")


def connect(panel: AdvicePanel, form: SpecForm, engine: Engine) -> None:
    def advise(values: Mapping[Component, Any]) -> Update:
        spec, wishes = spec_from(form.document(values)), panel.wishes(values)
        found = engine.advisor.advise_for(
            spec, goal=wishes.goal, task=wishes.task, card_gib=wishes.card_gib
        )
        about = advice_html.about_spec(found, spec.dataset.source, spec.base_model)
        return panel.shown(found.advice, about)

    inputs, clicked = form.inputs | panel.inputs, [panel.advise.click]
    wire(clicked, advise, inputs, panel.outputs, problem=panel.problem, **WORKING)


def connect_line(
    line: gr.HTML,
    form: SpecForm,
    deciding: SettledChanges,
    engine: Engine,
) -> None:
    """The line follows the base and what decides the rows."""

    def suggest(values: Mapping[Component, Any]) -> Update:
        try:
            advice = engine.advisor.advise_for(spec_from(form.document(values))).advice
        except EngineError:  # the viewer of the rows says what is wrong with the fields
            return {line: ""}
        low, high = advice.range
        text = tr(
            "For this data and base: start with rank {rank}, try {low} to {high}.",
            rank=advice.suggested_rank,
            low=low,
            high=high,
        )
        return {line: f'<p class="rs-scaling">{escape(text)}</p>'}

    wire(
        [deciding.trigger],
        suggest,
        set(deciding.fields),
        [line],
        problem=problem_box(),
        follows=True,
    )
