"""What alpha means at a rank: the scaling, with rsLoRA and without, and a word where it is unusual.

Pure arithmetic, for pages to show while a person types.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lora_engine.language import tr

LOWEST_SCALING, HIGHEST_SCALING = 0.5, 4.0


@dataclass(frozen=True)
class AlphaRemark:
    """The scaling that alpha gives, beside the other way to scale.

    scaling: alpha/rank, or alpha/√rank with rsLoRA. other_scaling: the same alpha scaled the
    other way. same_alpha: the alpha that gives this scaling the other way. remark: a word where
    the scaling is below 0.5 or above 4, else empty.
    """

    scaling: float
    other_scaling: float
    same_alpha: float
    remark: str

    def sentence(self, use_rslora: bool) -> str:
        """`alpha/rank = 2; with rsLoRA alpha/√rank = 5.66.`, then the remark."""
        said = tr(
            "alpha/√rank = {scaling}; without rsLoRA alpha/rank = {other}."
            if use_rslora
            else "alpha/rank = {scaling}; with rsLoRA alpha/√rank = {other}.",
            scaling=f"{self.scaling:.3g}",
            other=f"{self.other_scaling:.3g}",
        )
        return f"{said} {self.remark}" if self.remark else said


def alpha_remark(rank: int, alpha: float, use_rslora: bool) -> AlphaRemark:
    """What alpha means at this rank. Pure; rank from 1, alpha above 0."""
    plain, stable = alpha / rank, alpha / math.sqrt(rank)
    scaling, other = (stable, plain) if use_rslora else (plain, stable)
    same_alpha = scaling * (rank if use_rslora else math.sqrt(rank))
    remark = ""
    if scaling < LOWEST_SCALING:
        remark = tr(
            "A scaling below {lowest} mutes the adapter: it learns slowly unless the learning rate "
            "is raised.",
            lowest=f"{LOWEST_SCALING:g}",
        )
    elif scaling > HIGHEST_SCALING:
        remark = tr(
            "A scaling above {highest} acts like a much higher learning rate: training may become "
            "unstable.",
            highest=f"{HIGHEST_SCALING:g}",
        )
    return AlphaRemark(scaling, other, same_alpha, remark)
