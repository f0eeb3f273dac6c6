"""Step: one step of gradient descent, on numbers small enough to follow with a pencil."""

from __future__ import annotations

import json

from lora_engine.language import tr, translatable
from lora_engine.lesson import hand_step
from pages import CALCULATOR, TRAIN
from pages.learn import parts
from pages.learn.step import Lesson, Step, TryIt
from pages.shared.wiring import problem_box, wire

START = {
    "W": [[1, 0, 2], [0, 1, 1]],
    "A": [[1, -1, 2]],
    "B": [[1], [0.5]],
    "x": [1, 2, 1],
    "y": [3, 4],
}
ALPHA = 1  # at rank 1: the scaling is 1
OPENING_RATE = 0.1


def build(lesson: Lesson) -> None:
    picture = parts.picture(
        "learn/gradient.js", "gradient", _content(START), height=600, elem_id="gradient-picture"
    )
    problem = problem_box()
    wire([picture.input], edited, [picture], [picture], problem=problem, queue=False)
    parts.remark(
        tr(
            "Real training does the same with many examples at once, and Adam divides each step "
            "by the usual size of its gradient. The learning rates of Train are therefore smaller "
            "than here."
        )
    )


def edited(state: str) -> str:
    """The step with the numbers that stand in the browser."""
    return json.dumps(_content(dict(zip(START, parts.sent(state, *START), strict=True))))


def _content(numbers: dict) -> dict:
    return {
        **hand_step(**numbers, alpha=ALPHA).to_json(),
        "start": START,
        "rate": OPENING_RATE,
        "words": {
            **parts.common_words(),
            "rate": tr("Learning rate η"),
            "zero": tr("B = 0, as training starts"),
            "again": tr("Start again"),
            "before": tr("loss before"),
            "after": tr("loss after"),
            "curve": tr("Loss after the step, for each learning rate from 0 to 1"),
            "falls": tr("This step takes the loss from {before} to {after}."),
            "rises": tr("Too far: this step takes the loss from {before} up to {after}."),
            "stays": tr("With η = 0 nothing moves."),
            "zeroB": tr("B is zero, so A has no gradient: the first step moves B alone."),
            "zeroA": tr("A · x is zero, so B has no gradient: this step moves A alone."),
            "dead": tr("Nothing has a gradient here: no step will move A or B."),
        },
    }


STEP = Step(
    key="gradient",
    title=translatable("A gradient step by hand"),
    claim=translatable(
        "Only A and B move, and the gradient of each has the other as a factor; W stays as it is."
    ),
    formula=r"$$L = \tfrac12 \lVert W x + s B A x - y \rVert^2$$ "
    r"$$\frac{\partial L}{\partial B} = s\, e\, (A x)^\top$$ "
    r"$$\frac{\partial L}{\partial A} = s\, B^\top e\, x^\top$$ $$e = W'x - y$$",
    build=build,
    try_it=(
        TryIt(translatable("Many steps, in the Calculator"), CALCULATOR, {}),
        TryIt(translatable("Train for real"), TRAIN, {}),
    ),
)
