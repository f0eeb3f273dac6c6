"""The advice in the calculator: for the model, the rows and the card chosen on the page."""

from __future__ import annotations

from typing import Any

from lora_engine.advisor import AdviceRequest, advise
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.training.memory import SPEC_PATHS
from pages.calculator.form import CalculatorForm, Selection, Values
from pages.shared import layout
from pages.shared.advice_panel import WORKING, AdvicePanel, Wishes
from pages.shared.wiring import Update, wire

OWN_PATHS = {of_spec: own for own, of_spec in SPEC_PATHS.items()}


def lay_out() -> AdvicePanel:
    """Lay the panel out; `connect` makes it answer."""
    hint = tr("The model, the training rows and the card are those chosen on this page.")
    return AdvicePanel(tr("Which rank? Advice for a task"), has_data=False, hint=hint)


def connect(panel: AdvicePanel, form: CalculatorForm, settings: Settings) -> Any:
    """Returns Gradio's event that fills in the advice, for `.then`."""

    def advise_here(values: Values) -> Update:
        selection, wishes = form.read(values, settings), panel.wishes(values)
        found = advise(request_of(selection, wishes))
        return panel.shown(found, _about(selection))

    inputs, clicked = form.inputs | panel.inputs, [panel.advise.click]
    wire(clicked, advise_here, inputs, panel.outputs, problem=panel.problem, **WORKING)
    return panel.wire_use(form.spec, OWN_PATHS)


def request_of(selection: Selection, wishes: Wishes) -> AdviceRequest:
    """What the fields and the panel ask together."""
    asked = selection.request
    return AdviceRequest(
        task=wishes.task,
        rows=selection.rows,
        tokens=wishes.tokens,
        model=selection.source,
        base_model=selection.name,
        target_modules=asked.method.target_modules,
        quantization=asked.quantization,
        card_gib=selection.card.memory_gib,
        goal=wishes.goal,
        batch_size=asked.workload.batch_size,
        seq_length=asked.workload.seq_length,
    )


def _about(selection: Selection) -> str:
    """What the advice is for, in one sentence."""
    names = {"model": selection.name, "card": selection.card.name}
    if selection.rows is None:
        return tr("For the model {model} and the card {card}.", **names)
    return tr(
        "For {rows} training rows, the model {model} and the card {card}.",
        rows=layout.count(selection.rows),
        **names,
    )
