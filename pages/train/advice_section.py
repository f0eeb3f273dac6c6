"""The advice on the train page: for the chosen data and base, from the form as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradio.components import Component

from lora_engine.engine import Engine
from lora_engine.spec import spec_from
from pages.shared import advice_html
from pages.shared.advice_panel import WORKING, AdvicePanel
from pages.shared.forms import SpecForm
from pages.shared.wiring import Update, wire


def lay_out() -> AdvicePanel:
    """Lay the panel out; `connect` makes it answer."""
    hint = "Rows, tokens and the base are read from what is chosen here."
    return AdvicePanel("Which rank? Advice for this data and base", has_data=True, hint=hint)


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
