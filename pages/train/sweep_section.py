"""Several runs at once from the train page: a grid over the form, or a run for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.engine import Engine
from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr, tr_count, translatable
from lora_engine.spec import (
    DEFAULT_RANKS,
    RunSpec,
    SweepAxis,
    SweepSpec,
    listed_values,
    spec_from,
    sweep_over,
)
from lora_engine.training import rule_in_words
from pages import CALCULATOR, RUNS
from pages.shared import layout
from pages.shared.advice_panel import AdvicePanel, advised
from pages.shared.forms import SpecForm
from pages.shared.static_files import event_js
from pages.shared.train_link import opening_spec
from pages.shared.wiring import Update, field_id, problem_box, wire

AXES = {
    "method.rank": "sweep.ranks",
    "optimization.learning_rate": "sweep.learning_rates",
    "seed": "sweep.seeds",
}
AXIS_NAMES = {
    "method.rank": (translatable("{count} rank"), translatable("{count} ranks")),
    "optimization.learning_rate": (
        translatable("{count} learning rate"),
        translatable("{count} learning rates"),
    ),
    "seed": (translatable("{count} seed"), translatable("{count} seeds")),
}
NOTHING_DELETED = translatable("Nothing is deleted, and a stopped run can be resumed.")


@dataclass(frozen=True)
class SweepParts:
    """The section. address is hidden and leads to what was started."""

    ranks: gr.Textbox
    rates: gr.Textbox
    seeds: gr.Textbox
    stop_worse: gr.Checkbox
    count: gr.HTML
    start: gr.Button
    every_method: gr.Button
    problem: gr.HTML
    address: gr.Textbox

    @property
    def grid(self) -> list[gr.Textbox]:
        """What varies, in the order of AXES."""
        return [self.ranks, self.rates, self.seeds]


def lay_out() -> SweepParts:
    """Lay the section out; `connect` makes it work."""
    with layout.folded(tr("Try several ranks, or every method"), "sweep"):
        layout.section(
            tr("Which rank does this data need?"),
            tr("One run for each combination, otherwise as the form says; alpha follows the rank."),
        )
        with gr.Row(elem_classes="rs-fields"):
            ranks = _values(tr("Ranks"), "sweep.ranks", ", ".join(map(str, DEFAULT_RANKS)))
            rates = _values(tr("Learning rates"), "sweep.learning_rates")
            seeds = _values(tr("Seeds"), "sweep.seeds")
        stop_worse = gr.Checkbox(
            False,
            label=tr(SweepSpec.model_fields["stop_worse"].title or ""),
            info=f"{rule_in_words()} {tr(NOTHING_DELETED)}",
            elem_id=field_id("sweep.stop_worse"),
        )
        with gr.Row(elem_classes="rs-actions"):
            count = gr.HTML(_count(ranks.value, "", ""), js_on_load="", elem_id="sweep-count")
            start = gr.Button(tr("Start the sweep"), elem_id="start-sweep", min_width=220, scale=0)
        layout.section(
            tr("Which method?"),
            tr(
                "One run for each method, from LoRA to prompt tuning and full fine-tuning, with "
                "the learning rate that suits it. The calculator page then shows side by side what "
                "each took and what it reached."
            ),
        )
        every_method = gr.Button(
            tr("Train it by every method"), elem_id="start-every-method", min_width=260, scale=0
        )
        problem = problem_box()
        address = gr.Textbox(visible=False)
    return SweepParts(ranks, rates, seeds, stop_worse, count, start, every_method, problem, address)


def connect(parts: SweepParts, form: SpecForm, advice: AdvicePanel, engine: Engine) -> None:
    """The count follows the grid; a quick goal stops what is worse; the button starts it."""

    def count_runs(ranks: str, rates: str, seeds: str) -> str:
        return _count(ranks, rates, seeds)

    def stop_when_quick(goal: str) -> bool:
        return goal == "quick"

    def start_sweep(values: Mapping[Component, Any]) -> Update:
        typed = [values[field] for field in parts.grid]
        spec = grid(spec_from(form.document(values)), *typed, stop_worse=values[parts.stop_worse])
        sweep = engine.sweeps.submit(spec)
        return {parts.address: layout.link(RUNS, tab="sweeps", sweep=sweep.id)}

    def start_every_method(values: Mapping[Component, Any]) -> Update:
        group = engine.methods.submit(spec_from(form.document(values)))
        return {parts.address: layout.link(CALCULATOR, methods=group.id)}

    def take_range(taken: str) -> Update:
        known = advised(taken)
        return {
            parts.ranks: ", ".join(map(str, known.ranks)),
            parts.rates: ", ".join(f"{rate:g}" for rate in known.learning_rates),
        }

    box = parts.problem
    changes = [field.change for field in parts.grid]
    wire(changes, count_runs, parts.grid, [parts.count], problem=box, follows=True, queue=False)
    goal = advice.goal
    wire([goal.input], stop_when_quick, [goal], [parts.stop_worse], problem=box, queue=False)
    wire([advice.use.click], take_range, [advice.taken], parts.grid[:2], problem=box)
    inputs = form.inputs | {*parts.grid, parts.stop_worse}
    for button, start in ((parts.start, start_sweep), (parts.every_method, start_every_method)):
        started = wire([button.click], start, inputs, [parts.address], problem=box)
        started.then(
            fn=None,
            inputs=[parts.address],
            js=event_js("shared/address.js", "go"),
            api_visibility="private",
        )


def grid(run: RunSpec, ranks: str, rates: str, seeds: str, *, stop_worse: bool) -> SweepSpec:
    """The sweep over what was typed. Raises InvalidInput naming these fields."""
    listed = [listed_values(text or "") for text in (ranks, rates, seeds)]
    if not any(listed):
        found = FieldProblem(AXES["method.rank"], tr("nothing varies: there are no values here"))
        raise InvalidInput(tr("The sweep"), [found], tr("Give ranks, learning rates or seeds."))
    try:
        sweep = sweep_over(run, listed[0], listed[1], listed[2], stop_worse=stop_worse)
        sweep.children()
    except InvalidInput as error:
        varied = [path for path, values in zip(AXES, listed, strict=True) if values]
        raise InvalidInput(
            tr("The sweep"), _at_the_grid(error.problems, varied), error.remedy
        ) from None
    return sweep


def _at_the_grid(problems: Sequence[FieldProblem], varied: Sequence[str]) -> list[FieldProblem]:
    """The problems, those of a field that varies at the values that were typed for it."""
    of_axes = {f"axes.{number}.values": AXES[path] for number, path in enumerate(varied)}
    of_runs = {path: AXES[path] for path in varied}
    places = {"axes": AXES[varied[0]], **of_axes, **of_runs}
    return [replace(one, path=places.get(one.path, one.path)) for one in problems]


def _count(ranks: str, rates: str, seeds: str) -> str:
    """How many runs the grid makes, in words."""
    sweep = grid(opening_spec(), ranks, rates, seeds, stop_worse=False)
    axes = [_so_many(axis) for axis in sweep.axes]
    runs = tr_count("{count} run", "{count} runs", len(sweep.children()))
    return f'<p class="rs-doing"><strong>{runs}</strong>: {" × ".join(axes)}</p>'


def _so_many(axis: SweepAxis) -> str:
    one, several = AXIS_NAMES[axis.path]
    count = len(axis.values)
    return tr(one if count == 1 else several, count=count)


def _values(label: str, path: str, value: str = "") -> gr.Textbox:
    return gr.Textbox(
        value,
        label=label,
        info=tr("With commas. Empty: the form's own."),
        elem_id=field_id(path),
        min_width=220,
    )
