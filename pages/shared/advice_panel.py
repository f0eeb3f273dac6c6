"""The panel that says which rank to start with: what it asks, its answer, and "Use this".

A page says what the advice is for; the rules are the engine's. `advice_html` draws the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import gradio as gr
from gradio.components import Component
from pydantic import BaseModel, JsonValue, ValidationError

from lora_engine.advisor import GOALS, TASKS, Advice, AdviceRequest, AdvisedTask, Goal, advise
from lora_engine.calculator import CARDS
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from pages.shared import advice_html, layout
from pages.shared.advice_cases import CASES, ClassicCase
from pages.shared.alpha_note import ALPHA, RANK
from pages.shared.forms import SpecForm
from pages.shared.wiring import EventOptions, Update, problem_box, wire

GOAL_NAMES: Mapping[Goal, str] = {
    "quick": translatable("quick"),
    "balanced": translatable("balanced"),
    "full": translatable("as good as full fine-tuning"),
}
WORKING: EventOptions = {"show_progress": "minimal"}
NO_CARD = "none"
GUESS = "guess"  # the task that is guessed from the data


@dataclass(frozen=True)
class Wishes:
    """What the panel says. task: None where it is to be guessed. card_gib, tokens: None where they
    are not given, or where the page itself knows them."""

    task: AdvisedTask | None
    goal: Goal
    card_gib: float | None
    tokens: int | None


class Advised(BaseModel):
    """What an answer gives to the form: the spec's fields by path, and what a sweep would try.

    It waits in the browser until the person uses it.
    """

    fields: dict[str, JsonValue]
    ranks: tuple[int, ...]
    learning_rates: tuple[float, ...]

    @classmethod
    def of(cls, advice: Advice) -> Advised:
        fields = advice.fields()
        del fields["method.target_modules"]  # they are those of the form
        return cls(
            fields=fields,
            ranks=advice.ranks_to_try,
            learning_rates=advice.learning_rates,
        )


def advised(taken: str) -> Advised:
    """What waits in the panel's hidden field. Raises EngineError where it did not arrive whole."""
    try:
        return Advised.model_validate_json(taken)
    except ValidationError:
        raise EngineError(
            tr("The advice did not arrive whole."), tr("Press Advise again.")
        ) from None


class AdvicePanel:
    """Lays the panel out where it is made.

    has_data: the page has rows, so that tokens are counted and the task can be guessed; a page
    without them has a card of its own instead. hint: what else the advice reads from the page.
    """

    def __init__(self, title: str, *, has_data: bool, hint: str) -> None:
        with layout.folded(title, elem_id="advice"):
            with gr.Row(elem_classes="rs-fields"):
                tasks = [(tr(advice_html.TASK_NAMES[task]), task) for task in TASKS]
                self.task = gr.Dropdown(
                    [(tr("guess it from the data"), GUESS), *tasks] if has_data else tasks,
                    value=GUESS if has_data else "faq",
                    label=tr("Kind of task"),
                    info=hint,
                    elem_id="field-advised-task",
                    min_width=220,
                )
                self.card = gr.Dropdown(
                    [(tr("not checked"), NO_CARD), *((card.name, card.name) for card in CARDS)],
                    value=NO_CARD,
                    label=tr("Card"),
                    info=tr("Whether the run fits its memory."),
                    elem_id="field-card-gib",
                    visible=has_data,
                    min_width=140,
                )
                self.tokens = gr.Number(
                    0,  # Gradio's number cannot open empty
                    label=tr("Supervised tokens"),
                    info=tr("0: not known."),
                    elem_id="field-tokens",
                    visible=not has_data,
                    min_width=140,
                )
            self.goal = gr.Radio(
                [(tr(GOAL_NAMES[goal]), goal) for goal in GOALS],
                value="balanced",
                label=tr("Goal"),
                elem_id="field-goal",
            )
            with gr.Row():
                self.advise = gr.Button(tr("Advise"), size="sm", elem_id="advise")
                self.use = gr.Button(
                    tr("Use this"),
                    variant="primary",
                    size="sm",
                    elem_id="use-advice",
                    visible=False,
                )
            self.problem = problem_box()
            self.result = gr.HTML(js_on_load="", elem_id="advice-result")
            self.case = gr.Radio(
                [(_title(case), number) for number, case in enumerate(CASES)],
                label=tr("Classic cases"),
                info=tr(
                    "The answer, and in brackets the range to try. Choose one to see its reasons."
                ),
                elem_id="advice-cases",
            )
            self.taken = gr.Textbox(visible=False)
        self._wire_cases()

    @property
    def inputs(self) -> set[Component]:
        """For a handler that reads the panel by `wishes`."""
        return {self.task, self.goal, self.card, self.tokens}

    @property
    def outputs(self) -> list[Component]:
        """What `shown` changes."""
        return [self.result, self.taken, self.use, self.case]

    def wishes(self, values: Mapping[Any, Any]) -> Wishes:
        task = values[self.task]
        memory = (card.memory_gib for card in CARDS if card.name == values[self.card])
        return Wishes(
            task=None if task == GUESS else task,
            goal=values[self.goal],
            card_gib=next(memory, None),
            tokens=layout.whole(values[self.tokens]) or None,
        )

    def shown(self, advice: Advice, about: str) -> Update:
        """The answer to Advise, which can be used; about: what it is for."""
        return {
            self.result: advice_html.as_html(advice, about),
            self.taken: Advised.of(advice).model_dump_json(),
            self.use: gr.Button(visible=True),
            self.case: None,
        }

    def wire_use(self, form: SpecForm, names: Mapping[str, str] = MappingProxyType({})) -> Any:
        """The button fills the form. Returns Gradio's event, for `.then`.

        names: the form's own path for fields of the spec that have another one there.
        """

        def use_advice(taken: str) -> Update:
            fields = advised(taken).fields
            filled = form.partly_filled({names.get(path, path): fields[path] for path in fields})
            alpha, rank = form.component(ALPHA), form.component(RANK)
            if filled[alpha] == 2 * filled[rank]:
                filled[alpha] = None
            return filled

        taken, fields, problem = [self.taken], form.components, self.problem
        return wire([self.use.click], use_advice, taken, fields, problem=problem, redraws=[])

    def _wire_cases(self) -> None:
        def show_case(number: int) -> Update:
            case = CASES[number]
            return {
                self.result: advice_html.as_html(advise(case.request()), case.about()),
                self.use: gr.Button(visible=False),
            }

        chosen, outputs = [self.case.input], [self.result, self.use]
        wire(chosen, show_case, [self.case], outputs, problem=self.problem, **WORKING)


def _title(case: ClassicCase) -> str:
    """The case with its answer, which needs no model: none of these is near its limits."""
    found = advise(AdviceRequest(task=case.task, rows=case.rows))
    low, high = found.range
    return f"{tr(case.title)}: {found.suggested_rank} ({low}–{high})"
