"""Step: counts. How few numbers an update of rank r has, from the calculator's own counts."""

from __future__ import annotations

from lora_engine.calculator import count_matrix
from lora_engine.language import tr, translatable
from pages import CALCULATOR
from pages.learn import parts
from pages.learn.step import Lesson, Step, TryIt

SIDES = (512, 1024, 4096)
RANKS = (8, 16, 32, 64, 128)
OPENING = (4096, 8)


def build(lesson: Lesson) -> None:
    parts.picture("learn/counts.js", "counts", _content(), height=470, elem_id="counts-picture")


def _content() -> dict:
    rows = [[count_matrix(side, side, rank) for side in SIDES] for rank in RANKS]
    return {
        "sides": SIDES,
        "ranks": RANKS,
        "table": [[one.lora_parameters for one in row] for row in rows],
        "full": [one.full_parameters for one in rows[0]],
        "side": OPENING[0],
        "rank": OPENING[1],
        "words": {
            "rank": tr("Rank r"),
            "side": tr("Size of W"),
            "whole": tr("W, whole"),
            "small": tr("B and A"),
            "table": tr("Numbers of B and A together, and their share of W"),
            "sentence": tr("{small} numbers instead of {full}: {share} %, {times} times fewer."),
            "more": tr("{small} numbers instead of {full}: no saving at this rank."),
        },
    }


STEP = Step(
    key="counts",
    title=translatable("How few numbers"),
    claim=translatable(
        "An update of rank r has r (d + k) numbers instead of d · k: the larger the matrix, the "
        "smaller the share."
    ),
    formula=r"$$\frac{r\,(d+k)}{d\,k} = \frac{2r}{d} \;\;(d = k)$$ "
    r"$$\frac{8 \cdot (4096 + 4096)}{4096 \cdot 4096} = "
    r"\frac{65{,}536}{16{,}777{,}216} = 0.39\,\%$$",
    build=build,
    try_it=(
        TryIt(
            translatable("4096 × 4096 in the Calculator"),
            CALCULATOR,
            {"d": 4096, "k": 4096, "r": 8},
        ),
        TryIt(translatable("A whole model, GPT-2"), CALCULATOR, {"preset": "gpt2", "rank": 8}),
    ),
)
