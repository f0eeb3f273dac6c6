"""Step: alpha and the rank, and how loud they make ΔW."""

from __future__ import annotations

from typing import Any

from lora_engine.language import tr, translatable
from lora_engine.lesson import RANKS, product_norms
from pages import TRAIN
from pages.learn import parts
from pages.learn.step import Lesson, Step, TryIt

FIRST_ALPHA, FIRST_RANK = 16, 8


def build(lesson: Lesson) -> None:
    del lesson
    parts.picture("learn/scaling.js", "scaling", _content(), height=490, elem_id="scaling-picture")
    parts.remark(
        tr(
            "The literature disagrees: the LoRA paper divides by r, rsLoRA (2023) by √r, and "
            "recipes say alpha = r, alpha = 2r, or a fixed 16. They are not at odds with the "
            "formula: each is a choice of the same factor. After a change of the rank, look at the "
            "factor, not at alpha."
        )
    )


def _content() -> dict[str, Any]:
    return {
        "ranks": list(RANKS),
        "norms": [float(f"{norm:.5g}") for norm in product_norms()],
        "alpha": FIRST_ALPHA,
        "rank": FIRST_RANK,
        "words": {
            "chart": tr("The size of ΔW by rank, with alpha/r and with alpha/√r"),
            "ranks": tr("rank r"),
            "size": tr("‖ΔW‖ after one step"),
            "plain": tr("alpha / r (LoRA)"),
            "stabilized": tr("alpha / √r (rsLoRA)"),
            "alpha": tr("Alpha"),
            "rank": tr("Rank"),
            "result": tr(
                "alpha = {alpha}, r = {rank}: LoRA multiplies B·A by {factor}, and ‖ΔW‖ is {size} "
                "after the first step of Adam on a 64 × 64 layer. rsLoRA multiplies by {root}: "
                "‖ΔW‖ is {stable}, {times} times as much."
            ),
        },
    }


STEP = Step(
    key="scaling",
    title=translatable("Alpha and the rank"),
    claim=translatable(
        "Alpha divided by the rank says how loud the update is: at a fixed alpha, a higher rank "
        "makes each step smaller."
    ),
    formula=(
        r"$$\Delta W = \frac{\alpha}{r}\, B A \quad\text{(LoRA)}$$"
        "\n\n"
        r"$$\Delta W = \frac{\alpha}{\sqrt r}\, B A \quad\text{(rsLoRA)}$$"
    ),
    build=build,
    try_it=(
        TryIt(
            translatable("Train with rsLoRA"),
            TRAIN,
            {"rank": 64, "alpha": 16, "method.use_rslora": "true"},
        ),
    ),
)
