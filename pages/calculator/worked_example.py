"""The worked example: one module small enough to print, to edit and to train by hand.

What stands in the browser comes back as one JSON document; the engine checks and computes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from lora_engine import calculator
from lora_engine.errors import EngineError
from pages.calculator.components import worked_example
from pages.shared import layout
from pages.shared.wiring import Update, problem_box, wire

START_RATE = 0.1
MOST_RANK = 4
MOST_LOSSES = 200
MOST_CHARACTERS = 100_000

Change = Callable[[calculator.WorkedExample], calculator.WorkedExample]


def section() -> None:
    layout.section(
        "Worked by hand", "Change any number in W, A or B; a step moves A and B, never W."
    )
    start = calculator.filled_example()
    with gr.Row(elem_classes="rs-split"):
        with gr.Column(scale=1, min_width=260):
            alpha = gr.Slider(0, 16, start.alpha, step=0.5, label="Alpha", elem_id="field-alpha")
            rank = gr.Slider(
                1, MOST_RANK, start.A.shape[0], step=1, label="Rank", elem_id="example-rank"
            )
            rate = gr.Slider(
                0.01,
                0.5,
                START_RATE,
                step=0.01,
                label="Learning rate",
                elem_id="field-learning-rate",
            )
            with gr.Row():
                zero = gr.Button("B = 0, as training starts", elem_id="example-zero")
                again = gr.Button("Start again", elem_id="example-again")
            with gr.Row():
                step = gr.Button("One step", variant="primary", elem_id="example-step")
                steps = gr.Button("Ten steps", elem_id="example-steps")
            problem = problem_box()
        with gr.Column(scale=3, min_width=320):
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
    return _changed(
        state, lambda e: calculator.work_example(e.W, e.A, e.B, float(alpha)), forget=False
    )


def ranked(state: str, rank: float) -> str:
    return _changed(state, lambda example: calculator.with_rank(example, layout.whole(rank)))


def zeroed(state: str) -> str:
    return _changed(state, calculator.without_training)


def stepped(state: str, rate: float, times: int) -> str:
    """`times` steps of gradient descent towards the target."""
    example, losses = read_document(state)
    for _ in range(times):
        taken = calculator.descend(example, calculator.toy_target(), float(rate))
        losses = [*(losses or [taken.loss_before]), taken.loss_after][-MOST_LOSSES:]
        example = taken.after
    return document(example, losses)


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
            "The numbers of the worked example did not arrive whole.", "Press Start again."
        ) from None


def document(example: calculator.WorkedExample, losses: list[float]) -> str:
    """What the browser draws: all matrices, the loss, and what they show in words."""
    target = calculator.toy_target()
    here = calculator.descend(example, target)
    floor = calculator.lowest_loss(example, target)
    rank = example.A.shape[0]
    trained = example.A.size + example.B.size
    tiles = [
        ("scaling", layout.number(example.scaling), f"alpha / rank = {example.alpha:g} / {rank}"),
        ("trained", f"{trained} numbers", f"W has {example.W.size}"),
        ("loss", layout.number(here.loss_before), "½ ‖W′ − target‖², all entries squared"),
        ("lowest at this rank", layout.number(floor), "what no update of this rank gets below"),
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
        return (
            "B is zero, so ΔW is zero and W′ is W: training starts at the base model itself, "
            "whatever A is. The gradient of A is zero too; the first step moves B alone."
        )
    if len(losses) > 1:
        change = "fell" if losses[-1] < losses[0] else "rose (the steps are too long)"
        return (
            f"After {len(losses) - 1} steps the loss {change} from {layout.number(losses[0])} "
            f"to {layout.number(losses[-1])}. A and B moved; W did not."
        )
    return "ΔW = scaling · B · A has as many numbers as W, but at most rank directions."
