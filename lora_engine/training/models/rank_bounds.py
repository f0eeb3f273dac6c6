"""Which rank each adapted weight gets, and the ranks that are too large for their weight.

The rank of ΔW = scaling · B·A cannot exceed the smaller side of the weight. A larger spec rank is
refused: it would cost memory and time and change nothing. There is one exception: all-linear also
adapts routers and gates with an output or two, which nobody named and which cost little. This
module knows names and sides, not whether they come from a file's header or from a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lora_engine.errors import FieldProblem
from lora_engine.language import tr
from lora_engine.spec import MethodSpec

if TYPE_CHECKING:
    from torch import nn

GATES = ("gate", "shared_expert_gate")


def is_named(module: str, names: Iterable[str]) -> bool:
    """Whether one of the names means the module, as PEFT matches: all of it, or its last parts."""
    return any(module == name or module.endswith(f".{name}") for name in names)


def adapted_sides(shapes: Mapping[str, tuple[int, int]], method: MethodSpec) -> dict[str, int]:
    """The smaller side of each weight of a checkpoint that the targets name.

    shapes: (out, in) by name. all-linear takes the weights of the numbered layers: a checkpoint
    also holds embeddings, heads and more, and its headers do not say which of these a model loads.
    """
    targets = method.target_modules
    return {
        name: min(shape)
        for name, shape in shapes.items()
        if (_is_in_a_layer(name) if targets == "all-linear" else is_named(name, targets))
    }


def sides_of(model: nn.Module) -> dict[str, int]:
    """The smaller side of each weight that PEFT has put an adapter on."""
    return {
        name.removeprefix("base_model.model."): min(module.in_features, module.out_features)
        for name, module in model.named_modules()
        if hasattr(module, "lora_A") and hasattr(module, "in_features")
    }


def rank_problems(sides: Mapping[str, int], method: MethodSpec) -> list[FieldProblem]:
    """A problem for each rank that exceeds the smaller side of one of its weights."""
    is_all = method.target_modules == "all-linear"
    over: dict[str | None, dict[str, int]] = {}
    for name, side in sides.items():
        key = next((key for key in method.rank_pattern if is_named(name, [key])), None)
        rank = method.rank if key is None else method.rank_pattern[key]
        is_let_through = key is None and is_all and _is_router(name)
        if rank > side and not is_let_through:
            over.setdefault(key, {})[name] = side
    return [_problem(key, found, method) for key, found in over.items()]


def _problem(key: str | None, found: Mapping[str, int], method: MethodSpec) -> FieldProblem:
    """key: that of the rank pattern, None for the rank of all others."""
    allowed = min(found.values())
    named = [name for name, side in found.items() if side == allowed]
    sides = named[0]
    if len(named) > 1:
        sides = tr("{name} and {more} more", name=named[0], more=f"{len(named) - 1:,}")
    path, rank = "method.rank", f"{method.rank:,}"
    if key is not None:
        path = "method.rank_pattern"
        rank = tr("{rank} for {name}", rank=f"{method.rank_pattern[key]:,}", name=key)
    return FieldProblem(
        path,
        tr(
            "{rank} is over the dimension: the smaller side of {named} is {allowed}, "
            "and ΔW can have no higher rank; at most {allowed} is allowed",
            rank=rank,
            named=sides,
            allowed=f"{allowed:,}",
        ),
    )


def _is_router(name: str) -> bool:
    return any(part in GATES or "router" in part for part in name.split("."))


def _is_in_a_layer(name: str) -> bool:
    return any(part.isdigit() for part in name.split(".")) and "embed" not in name
