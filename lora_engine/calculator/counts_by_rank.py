"""What one choice trains at every rank, from two of PEFT's counts.

A factor pair has rank·(in + out) numbers; DoRA's magnitudes, lora_bias, modules trained whole and
modules with a rank of their own do not depend on the rank. So every count of a choice is affine in
its rank, and two counts tell all of them. `count.py` counts; this module only draws the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lora_engine.calculator.choice import LoraChoice
from lora_engine.calculator.model_profile import read_profile
from lora_engine.calculator.model_source import ModelSource

FIRST, SECOND = 1, 2


@dataclass(frozen=True)
class RankCount:
    """What a choice trains at one rank; adapter_bytes as in `ModelCount`."""

    rank: int
    trainable_parameters: int
    trainable_fraction: float
    adapter_bytes: int


def counts_at_ranks(
    source: ModelSource, choice: LoraChoice, ranks: Sequence[int]
) -> tuple[RankCount, ...]:
    """The counts of `choice` at each of `ranks`. Raises as `count_model` does."""
    first, second = (
        read_profile(source, replace(choice, rank=rank)).count for rank in (FIRST, SECOND)
    )
    a_rank = second.trainable_parameters - first.trainable_parameters
    bytes_a_rank = second.adapter_bytes - first.adapter_bytes
    found = []
    for rank in ranks:
        trained = first.trainable_parameters + (rank - FIRST) * a_rank
        size = first.adapter_bytes + (rank - FIRST) * bytes_a_rank
        found.append(RankCount(rank, trained, trained / first.base_parameters, size))
    return tuple(found)
