"""Step: rank. A matrix of five rows of which one follows from two others."""

from __future__ import annotations

from lora_engine.language import tr, translatable
from lora_engine.spectrum import TEACHING
from pages import SPECTRUM
from pages.learn import parts
from pages.learn.step import Lesson, Step, TryIt


def build(lesson: Lesson) -> None:
    parts.picture("learn/rank.js", "rank", _content(), height=380, elem_id="rank-picture")
    parts.remark(
        tr(
            "The last column is zero, and that is the same fact seen from the side: a matrix has "
            "as many independent columns as rows. So a change within the first four columns "
            "breaks the sum, and the rank stays 4; one number in the last column makes it 5."
        )
    )


def _content() -> dict:
    return {
        "matrix": TEACHING,
        "words": {
            **parts.common_words(),
            "slide": tr("Last number of row 5"),
            "show": tr("Show the sum"),
            "free": tr("Make row 5 independent"),
            "again": tr("Start again"),
            "rank": tr("rank"),
            "values": tr("singular values"),
            "counted": tr("Counted are those above σ₁ · 5 · 2.2·10⁻¹⁶ = {limit}, as NumPy does."),
            "follows": tr("Row {row} follows from the others: {sum}. {rank} rows say everything."),
            "zero": tr("Row {row} is zero. {rank} rows say everything."),
            "none": tr("No row follows from the others: each of the five says something new."),
            "almost": tr(
                "The rank is 5, but σ₅ is only {share} of σ₁: the fifth direction hardly counts."
            ),
        },
    }


STEP = Step(
    key="rank",
    title=translatable("Rank"),
    claim=translatable(
        "The rank of a matrix is the number of rows that do not follow from the others."
    ),
    formula=r"$$r_5 = r_1 + r_2 \quad\Rightarrow\quad \operatorname{rank}(S) = 4$$",
    build=build,
    try_it=(
        TryIt(translatable("This matrix in Spectrum"), SPECTRUM, {"sample": "teaching", "k": 4}),
    ),
)
