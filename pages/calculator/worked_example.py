"""The worked example: one module small enough to print, to edit and to train by hand.

What stands in the browser comes back as one JSON document; the engine checks and computes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from lora_engine import calculator
from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.language import tr
from pages.calculator.components import worked_example
from pages.shared import layout, live
from pages.shared.wiring import Update, problem_box, wire

START_RATE = 0.1
MOST_RANK = 4
MOST_LOSSES = 200
MOST_CHARACTERS = 100_000
DIVERGED = 1e6  # so many times the first loss

Change = Callable[[calculator.WorkedExample], calculator.WorkedExample]


def section() -> None:
    layout.section(
        tr("Worked by hand"),
        tr("Change any number in W, A or B; a step moves A and B, never W."),
    )
    start = calculator.filled_example()
    with gr.Row(elem_classes="rs-workbench"):
        with gr.Column(elem_classes="rs-inputs", min_width=300):
            alpha = gr.Number(start.alpha, label=tr("Alpha"), elem_id="field-alpha")
            live.number_range(alpha, 0, 16, 0.5)
            rank = gr.Number(start.A.shape[0], label=tr("Rank"), elem_id="field-example-rank")
            live.number_range(rank, 1, MOST_RANK)
            rate = gr.Number(START_RATE, label=tr("Learning rate"), elem_id="field-learning-rate")
            live.number_range(rate, 0.01, 0.5, 0.01)
            with gr.Row():
                zero = gr.Button(tr("B = 0, as training starts"), elem_id="example-zero")
                again = gr.Button(tr("Start again"), elem_id="example-again")
            with gr.Row():
                step = gr.Button(tr("One step"), variant="primary", elem_id="example-step")
                steps = gr.Button(tr("Ten steps"), elem_id="example-steps")
            problem = problem_box()
        with gr.Column(elem_classes="rs-results", min_width=300):
            picture = worked_example(document(start, []))
    for trigger, handler, inputs in (
        (picture.input, edited, [picture]),
        (alpha.input, scaled, [picture, alpha]),
        (rank.input, ranked, [picture, rank]),
        (zero.click, zeroed, [picture]),
        (step.click, partial_named(stepped, "stepped", 1), [picture, rate]),
        (steps.click, partial_named(stepped, "stepped_ten", 10), [picture, rate]),
    ):
        wire(
            [trigger],
            handler,
            inputs,
            [picture],
            problem=problem,
            trigger_mode="always_last",
            queue=False,
        )

    def started() -> Update:
        first = calculator.filled_example()
        return {picture: document(first, []), alpha: first.alpha, rank: first.A.shape[0]}

    wire([again.click], started, [], [picture, alpha, rank], problem=problem, queue=False)


def partial_named(handler: Callable, name: str, times: int) -> Callable:
    """`handler` with its number of steps, under a name of its own for the API."""

    def named(*values: Any) -> str:
        return handler(*values, times=times)

    named.__name__ = named.__qualname__ = name
    return named


def edited(state: str) -> str:
    return _changed(state, lambda example: example)


def scaled(state: str, alpha: float) -> str:
    given = _number("alpha", alpha, 0)
    return _changed(state, lambda e: calculator.work_example(e.W, e.A, e.B, given), forget=False)


def ranked(state: str, rank: float) -> str:
    whole = layout.whole(rank)
    if not isinstance(whole, int) or not 1 <= whole <= MOST_RANK:
        said = tr("is empty") if whole is None else tr("got {value}", value=f"{whole:g}")
        allowed = tr("a whole number from 1 to {most} is allowed", most=MOST_RANK)
        raise InvalidInput(
            tr("The worked example"),
            [FieldProblem("example_rank", f"{said}; {allowed}")],
            tr("W has 4 columns: no product B · A has a higher rank."),
        )
    return _changed(state, lambda example: calculator.with_rank(example, whole))


def zeroed(state: str) -> str:
    return _changed(state, calculator.without_training)


def stepped(state: str, rate: float, times: int) -> str:
    """`times` steps of gradient descent towards the target."""
    learning_rate = _number("learning_rate", rate, 0)
    example, losses = read_document(state)
    for number in range(1, times + 1):
        taken = calculator.descend(example, calculator.toy_target(), learning_rate)
        losses = [*(losses or [taken.loss_before]), taken.loss_after][-MOST_LOSSES:]
        if not taken.loss_after <= DIVERGED * max(losses[0], 1.0):
            raise EngineError(
                tr(
                    "The steps diverged at learning rate {rate}: the loss rose from {first} to "
                    "{last} by step {step}. The matrices stay as they were.",
                    rate=f"{learning_rate:g}",
                    first=layout.number(losses[0]),
                    last=layout.number(taken.loss_after),
                    step=number,
                ),
                tr("Choose a smaller learning rate, or press Start again."),
            )
        example = taken.after
    return document(example, losses)


def _number(path: str, value: float | None, least: float) -> float:
    """The number in a field. Raises InvalidInput where there is none or it is too small."""
    if value is None or not value >= least:
        said = tr("is empty") if value is None else tr("got {value}", value=f"{value:g}")
        allowed = tr("a number from {least} is allowed", least=f"{least:g}")
        problem = FieldProblem(path, f"{said}; {allowed}")
        raise InvalidInput(tr("The worked example"), [problem], tr("Type a number."))
    return float(value)


def _changed(state: str, change: Change, *, forget: bool = True) -> str:
    """The document after a change; the curve of losses begins anew unless told otherwise."""
    example, losses = read_document(state)
    return document(change(example), [] if forget else losses)


def read_document(state: str) -> tuple[calculator.WorkedExample, list[float]]:
    """The example and its losses in what the browser sent. Raises EngineError where it is none."""
    try:
        given = json.loads(state if len(state) <= MOST_CHARACTERS else "{}")
        example = calculator.work_example(given["W"], given["A"], given["B"], given["alpha"])
        return example, [float(loss) for loss in given["losses"]][-MOST_LOSSES:]
    except (ValueError, TypeError, KeyError):
        raise EngineError(
            tr("The numbers of the worked example did not arrive whole."),
            tr("Press Start again."),
        ) from None


def document(example: calculator.WorkedExample, losses: list[float]) -> str:
    """What the browser draws: all matrices, the loss, and what they show in words."""
    target = calculator.toy_target()
    here = calculator.descend(example, target)
    floor = calculator.lowest_loss(example, target)
    rank = example.A.shape[0]
    trained = example.A.size + example.B.size
    tiles = [
        (
            tr("scaling"),
            layout.number(example.scaling),
            tr("alpha / rank = {alpha} / {rank}", alpha=f"{example.alpha:g}", rank=rank),
        ),
        (
            tr("trained"),
            tr("{count} numbers", count=trained),
            tr("W has {count}", count=example.W.size),
        ),
        (
            tr("loss"),
            layout.number(here.loss_before),
            tr("½ ‖W′ − target‖², all entries squared"),
        ),
        (
            tr("lowest at this rank"),
            layout.number(floor),
            tr("what no update of this rank gets below"),
        ),
    ]
    return json.dumps(
        {
            **example.to_json(),
            "target": target.tolist(),
            "grad_A": here.grad_A.tolist(),
            "grad_B": here.grad_B.tolist(),
            "losses": losses,
            "tiles": tiles,
            "words": _words(example, losses),
        }
    )


def _words(example: calculator.WorkedExample, losses: list[float]) -> str:
    if not example.B.any():
        return tr(
            "B is zero, so ΔW is zero and W′ is W: training starts at the base model itself, "
            "whatever A is. The gradient of A is zero too; the first step moves B alone."
        )
    if len(losses) > 1:
        values = {
            "steps": len(losses) - 1,
            "first": layout.number(losses[0]),
            "last": layout.number(losses[-1]),
        }
        if losses[-1] < losses[0]:
            return tr(
                "After {steps} steps the loss fell from {first} to {last}. A and B moved; W did "
                "not.",
                **values,
            )
        return tr(
            "After {steps} steps the loss rose from {first} to {last}: the steps are too long. A "
            "and B moved; W did not.",
            **values,
        )
    return tr("ΔW = scaling · B · A has as many numbers as W, but at most rank directions.")
