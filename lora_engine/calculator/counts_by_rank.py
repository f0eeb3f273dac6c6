"""What one method trains at every rank, from two of PEFT's counts.

A factor pair has rank·(in + out) numbers; DoRA's magnitudes, biases, modules trained whole and
modules with a rank of their own do not depend on the rank. So every count of a method is affine in
its rank, and two counts tell all of them. `count_parameters.py` counts; this module only draws the
line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lora_engine.calculator.model_profile import read_profile
from lora_engine.calculator.model_source import ModelSource
from lora_engine.spec import MethodSpec

FIRST, SECOND = 1, 2


@dataclass(frozen=True)
class RankCount:
    """What a method trains at one rank; adapter_bytes as in `ModelCount`."""

    rank: int
    trainable_parameters: int
    trainable_fraction: float
    adapter_bytes: int


def counts_at_ranks(
    source: ModelSource, method: MethodSpec, ranks: Sequence[int]
) -> tuple[RankCount, ...]:
    """The counts of `method` at each of `ranks`. Raises as `count_model` does."""
    methods = (method.model_copy(update={"rank": rank}) for rank in (FIRST, SECOND))
    first, second = (read_profile(source, at_rank).count for at_rank in methods)
    a_rank = second.trainable_parameters - first.trainable_parameters
    bytes_a_rank = second.adapter_bytes - first.adapter_bytes
    found = []
    for rank in ranks:
        trained = first.trainable_parameters + (rank - FIRST) * a_rank
        size = first.adapter_bytes + (rank - FIRST) * bytes_a_rank
        found.append(RankCount(rank, trained, trained / first.base_parameters, size))
    return tuple(found)
