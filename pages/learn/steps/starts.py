"""Step: four ways to start A and B, really trained, side by side."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from lora_engine.language import tr, translatable
from lora_engine.lesson import FourStarts, train_four_starts
from pages import CALCULATOR, TRAIN
from pages.learn import parts
from pages.learn.step import Lesson, Step, TryIt
from pages.shared.wiring import problem_box, wire

FIRST_RATE, FIRST_SEED = 0.5, 0


def build(lesson: Lesson) -> None:
    del lesson  # the engine's package trains without a data folder
    picture = parts.picture(
        "learn/starts.js", "starts", _content(_first()), height=752, elem_id="starts-picture"
    )
    problem = problem_box()
    wire([picture.input], train_again, [picture], [picture], problem=problem, queue=False,
         trigger_mode="always_last")  # fmt: skip
    parts.remark(
        tr(
            "Some texts start A at zero and B at random. That is as good: only one of the two may "
            "be zero. PEFT and this program follow the LoRA paper, A random and B zero."
        )
    )


def train_again(state: str) -> str:
    """The four starts with the learning rate and the random numbers that the picture asks for."""
    rate, seed = parts.sent(state, "learning_rate", "seed", inside="asked")
    return json.dumps(_content(train_four_starts(rate, seed)))


@cache
def _first() -> FourStarts:
    return train_four_starts(FIRST_RATE, FIRST_SEED)


def _content(trained: FourStarts) -> dict[str, Any]:
    document = trained.to_json()
    for one in document["starts"]:
        one["losses"] = [float(f"{loss:.4g}") for loss in one["losses"]]
    return {
        "asked": {"learning_rate": trained.learning_rate, "seed": trained.seed},
        "trained": document,
        "steps": trained.steps,
        "words": _words(),
    }


def _words() -> dict[str, Any]:
    return {
        "chart": tr("The loss of the four starts over the steps, on a logarithmic scale"),
        "steps": tr("steps"),
        "loss": tr("loss"),
        "step": tr("Step"),
        "rate": tr("Learning rate"),
        "other": tr("Other random numbers"),
        "before": tr("before step 1: ‖ΔW‖ = {shift}, loss {loss}"),
        "gradients": tr("first gradients: ‖∂L/∂A‖ = {A}, ‖∂L/∂B‖ = {B}"),
        "now": tr("after step {step}: loss {loss}"),
        "diverged": tr("The steps were too long: it diverged at step {step}."),
        "drawn": tr(
            "A layer of 16 × 12 numbers learns a change of rank 2 with r = 4. It is trained by the "
            "server when you ask; random numbers {seed}, learning rate {rate}."
        ),
        "b_zero": {
            "title": tr("B = 0, A random (LoRA)"),
            "text": tr("It starts exactly at the base model, and B moves at once."),
        },
        "a_zero": {
            "title": tr("A = 0, B random"),
            "text": tr("It starts at the base model too; here A moves first."),
        },
        "both_zero": {
            "title": tr("Both zero"),
            "text": tr("Each gradient has the other matrix as a factor: nothing ever moves."),
        },
        "both_random": {
            "title": tr("Both random"),
            "text": tr("The base model is disturbed before it learns: loss {loss}, not {base}."),
        },
    }


STEP = Step(
    key="starts",
    title=translatable("Four starts"),
    claim=translatable(
        "One of A and B starts at zero and the other at random; with both zero nothing is learned, "
        "with both random the base model is disturbed."
    ),
    formula=(
        r"$$\frac{\partial L}{\partial A} = \frac{\alpha}{r}\, B^\top G, \qquad "
        r"\frac{\partial L}{\partial B} = \frac{\alpha}{r}\, G A^\top$$"
    ),
    build=build,
    try_it=(
        TryIt(translatable("Steps by hand in Calculator"), CALCULATOR, {}),
        TryIt(translatable("Another start in Train"), TRAIN, {"method.init": "gaussian"}),
    ),
)
