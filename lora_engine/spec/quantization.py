"""The quantization of a run's frozen base: 4 bit as in QLoRA, or 8 bit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lora_engine.spec.section import Section

QuantizationBits = Literal[4, 8]
FourBitType = Literal["nf4", "fp4"]


class QuantizationSpec(Section):
    """How the frozen base is stored while an adapter trains on it."""

    bits: QuantizationBits = Field(
        4,
        title="Bits",
        description="Bits a frozen weight is stored in: 4 (QLoRA) or 8.",
    )
    type: FourBitType = Field(
        "nf4",
        title="4-bit type",
        description="nf4 fits normally distributed weights (arXiv 2305.14314).",
    )
    double: bool = Field(
        True,
        title="Double quantization",
        description="Quantize the quantization constants too, saving about 0.4 bit a weight.",
    )
