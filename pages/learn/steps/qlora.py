"""Step: QLoRA's NF4 on a real weight of the starter, and what its constants cost."""

from __future__ import annotations

from typing import Any

from lora_engine.calculator import PRESETS
from lora_engine.language import tr, translatable
from lora_engine.lesson import LEVELS, bits_a_weight, rounded_weight
from pages import TRAIN
from pages.learn import parts
from pages.learn.step import Lesson, Step, TryIt

SEVEN_BILLION = "llama-2-7b"
GB = 10**9


def build(lesson: Lesson) -> None:
    del lesson
    parts.picture("learn/qlora.js", "qlora", _content(), height=618, elem_id="qlora-picture")
    found = rounded_weight()
    parts.remark(
        tr(
            "On this weight NF4 is off by {nf4} % of its size, 16 evenly spaced levels by {even} "
            "%. Only the base is rounded: A and B stay in full precision, and the product is "
            "computed with widened numbers. Some texts call QLoRA a 4-bit training; it is training "
            "on a 4-bit base.",
            nf4=f"{100 * found.error:.1f}",
            even=f"{100 * found.uniform_error:.1f}",
        )
    )


def _content() -> dict[str, Any]:
    found = rounded_weight()
    return {
        "weight": {
            "counts": list(found.counts),
            "first": list(found.first),
            "first_codes": list(found.first_codes),
            "absmax": found.absmax,
        },
        "levels": list(LEVELS),
        "bits": _bits(),
        "words": {
            "chart": tr(
                "Histogram of the weights divided by their block's absmax; NF4's levels as lines"
            ),
            "number": tr("Number in the block"),
            "of": tr("{number} of {count}"),
            "result": tr(
                "{value} ÷ {absmax} = {part}. The nearest level is {level}, stored as {code}. It "
                "comes back as {level} × {absmax} = {back}: off by {error}."
            ),
            "columns": [
                tr("How it is stored"),
                tr("Bits a weight"),
                tr("Llama 2 7B"),
            ],
            "how": tr(
                "{name} of the starter, {rows} × {columns}: {blocks} blocks of 64. The nearest "
                "level is taken after each block was divided by its largest magnitude, absmax.",
                name=found.name,
                rows=found.shape[0],
                columns=found.shape[1],
                blocks=f"{sum(found.counts) // 64:,}",
            ),
        },
    }


def _bits() -> list[list[str]]:
    """Rows of the table: how it is stored, bits a weight with the sum, and GB of 7B's weights."""
    bits = bits_a_weight()
    plain, double = bits.code + bits.constants, bits.code + bits.constants_double
    return [
        [tr("bfloat16"), "16", _size(16)],
        [tr("NF4, a float32 for each block"), f"4 + 32/64 = {plain:g}", _size(plain)],
        [
            tr("NF4, the constants quantized again"),
            f"4 + 8/64 + 32/(64·256) = {double:.3f}",
            _size(double),
        ],
    ]


def _size(bits: float) -> str:
    return f"{PRESETS[SEVEN_BILLION].published_parameters * bits / 8 / GB:.2f} GB"


STEP = Step(
    key="qlora",
    title=translatable("QLoRA"),
    claim=translatable(
        "The frozen base can be stored in 4 bits a number; what it loses is small, and A and B "
        "learn around it."
    ),
    formula=(
        r"$$\hat w = \text{absmax} \cdot q_i$$"
        "\n\n"
        r"$$i = \arg\min_{1 \le j \le 16} \left| \tfrac{w}{\text{absmax}} - q_j \right|$$"
    ),
    build=build,
    try_it=(
        TryIt(
            translatable("Train with QLoRA"), TRAIN, {"quantization": '{"bits": 4, "type": "nf4"}'}
        ),
    ),
)
