"""Step: the update. A weight of 20 numbers, and 18 that change all of them."""

from __future__ import annotations

from lora_engine.calculator import work_example
from lora_engine.language import tr, translatable
from pages import ADAPTERS, CALCULATOR
from pages.learn import parts
from pages.learn.step import Lesson, Step, TryIt

W = [[4 * row + column for column in range(1, 5)] for row in range(5)]  # 1 … 20
B = [[1, 0], [0, 1], [1, 1], [0, -1], [2, 1]]
A = [[1, 0, 2, -1], [0, 1, -1, 1]]
ALPHA = 2


def build(lesson: Lesson) -> None:
    parts.picture("learn/update.js", "update", _content(), height=640, elem_id="update-picture")
    parts.remark(
        tr(
            "Many notes and papers write ΔW = A · B, with the tall matrix called A and the flat "
            "one B. PEFT, and this program with it, call the tall one B and the flat one A: "
            "ΔW = (α/r) · B · A. The product is the same; only the letters change places."
        )
    )


def _content() -> dict:
    return {
        **work_example(W, A, B, ALPHA).to_json(),
        "words": {
            **parts.common_words(),
            "alpha": tr("α (the scaling is α / r, and r is 2)"),
            "zero": tr("B = 0, as training starts"),
            "again": tr("Start again"),
            "letters": tr("Write it as A · B"),
            "ours": tr("Write it as B · A"),
            "pick": tr("Point at a number of ΔW, or move there with the arrow keys."),
            "whole": tr("W, whole"),
            "small": tr("B and A"),
            "count": tr("{count} numbers"),
            "same": tr("ΔW is zero, so W′ is W: training starts at the base model itself."),
            "all": tr(
                "{small} numbers change {changed} of the {whole} numbers of W. W itself stays."
            ),
        },
    }


STEP = Step(
    key="update",
    title=translatable("The update: W′ = W + ΔW"),
    claim=translatable(
        "LoRA leaves W as it is and learns a small product beside it; the product has the shape "
        "of W, but only rank r."
    ),
    formula=r"$$W' = W + \Delta W$$ $$\Delta W = \frac{\alpha}{r}\, B A$$ "
    r"$$B \in \mathbb{R}^{5 \times 2},\; A \in \mathbb{R}^{2 \times 4}$$",
    build=build,
    try_it=(
        TryIt(translatable("Any d, k and r in the Calculator"), CALCULATOR, {}),
        TryIt(translatable("B and A of your adapters"), ADAPTERS, {}),
    ),
)
