"""Step: the singular value decomposition of the same matrix, direction by direction."""

from __future__ import annotations

from lora_engine.language import tr, translatable
from lora_engine.spectrum import decompose, sample
from pages import SPECTRUM
from pages.learn import parts
from pages.learn.step import Lesson, Step, TryIt

OPENING_K = 3


def build(lesson: Lesson) -> None:
    parts.picture("learn/svd.js", "svdPicture", _content(), height=760, elem_id="svd-picture")
    parts.remark(
        tr(
            "The direction without weight tells the rule of the step before: u₅ is "
            "(−1, −1, 0, 0, 1)/√3, which reads r₅ − r₁ − r₂ = 0. The signs of a pair uᵢ, vᵢ are "
            "free, so another program may show both with the opposite sign."
        )
    )


def _content() -> dict:
    matrix = sample("teaching").matrix()
    found = decompose(matrix)
    return {
        "matrix": matrix.rows(0, found.shape[0]).tolist(),
        "u": found.left.T.tolist(),
        "s": found.singular_values.tolist(),
        "v": found.right.T.tolist(),
        "energy": found.energy.tolist(),
        "errors": found.errors.tolist(),
        "k": OPENING_K,
        "words": {
            **parts.common_words(),
            "k": tr("Directions kept, k"),
            "split": tr("Split into directions"),
            "energy": tr("energy kept"),
            "error": tr("error ‖S − Sₖ‖"),
            "numbers": tr("numbers kept"),
            "numbersNote": tr("k (5 + 5 + 1); a matrix of 25 is too small to save any"),
            "energyNote": tr("Σσᵢ² up to k, of 63"),
            "errorNote": tr("√ of the σᵢ² left out"),
            "rebuilt": tr("rebuilt Sₖ"),
            "rest": tr("left out, S − Sₖ"),
            "exact": tr("With k = {k} the matrix is back whole: σ₅ is zero."),
            "close": tr(
                "{k} of 5 directions keep {energy} % of the energy; no other matrix of rank {k} "
                "is nearer to S."
            ),
        },
    }


STEP = Step(
    key="svd",
    title=translatable("Directions: the SVD"),
    claim=translatable(
        "Every matrix is a sum of directions of rank 1, sorted by weight; the first few may be "
        "nearly all of it."
    ),
    formula=r"$$S = U \Sigma V^\top = \sum_{i=1}^{5} \sigma_i\, u_i v_i^\top$$ "
    r"$$\frac{\sigma_1^2+\sigma_2^2+\sigma_3^2}{\sum_i \sigma_i^2} = 0.99979$$",
    build=build,
    try_it=(
        TryIt(
            translatable("k = 3 of this matrix in Spectrum"),
            SPECTRUM,
            {"sample": "teaching", "k": OPENING_K},
        ),
        TryIt(translatable("A picture, taken apart"), SPECTRUM, {"sample": "picture", "k": 20}),
    ),
)
