"""What one method trains at every rank, from two of PEFT's counts.

A factor pair has rank·(in + out) numbers; DoRA's magnitudes, biases, modules trained whole and
modules with a rank of their own do not depend on the rank. So every count of a method is affine in
its rank, and two counts tell all of them. `count_parameters.py` counts; this module only draws the
line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lora_engine.calculator.model_count import ModuleCount
from lora_engine.calculator.model_profile import ModelProfile, read_profile
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


def profile_at_rank(source: ModelSource, method: MethodSpec, rank: int) -> ModelProfile:
    """The profile of `method` at another rank, without building the model for it.

    Raises as `count_model` does.
    """
    methods = (method.model_copy(update={"rank": at}) for at in (FIRST, SECOND))
    first, second = (read_profile(source, at_rank) for at_rank in methods)
    steps, one, two = rank - FIRST, first.count, second.count
    count = replace(
        one,
        method=method.model_copy(update={"rank": rank}),
        trainable_parameters=_on(one.trainable_parameters, two.trainable_parameters, steps),
        adapter_bytes=_on(one.adapter_bytes, two.adapter_bytes, steps),
        modules=tuple(
            _module_on(a, b, steps) for a, b in zip(one.modules, two.modules, strict=True)
        ),
    )
    return ModelProfile(first.shape, count)


def _module_on(one: ModuleCount, two: ModuleCount, steps: int) -> ModuleCount:
    return ModuleCount(
        one.name,
        one.in_features,
        one.out_features,
        rank=_on(one.rank, two.rank, steps),
        parameters=_on(one.parameters, two.parameters, steps),
        experts=one.experts,
        shapes=tuple(
            tuple(_on(a, b, steps) for a, b in zip(first, second, strict=True))
            for first, second in zip(one.shapes, two.shapes, strict=True)
        ),
    )


def _on(first: int, second: int, steps: int) -> int:
    """A number that is affine in the rank, `steps` ranks after the first."""
    return first + steps * (second - first)
