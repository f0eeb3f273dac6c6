"""From a spectrum back to ranks: where an adapter's directions would go at an equal budget.

    threshold            one singular value for all modules: what is above it stays
    explained variance   one share of a module's own sum of sigma^2 for all modules, at most 2r a
                         module, after EVA (arXiv 2410.07170), which takes the inputs' variance

Each keeps at most as many parameters as rank r everywhere, and every module keeps rank 1. A
spectrum shows what one training used, which is no proof of what the task needs: the proposals are
measured (`proposal_losses.py`), and then trained. Knows nothing of losses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lora_engine.adapter_operations import ResizeTarget, ToRank, ToThreshold, ToVarianceShare
from lora_engine.adapter_operations.resize import kept_rank
from lora_engine.adapter_operations.source_adapter import SourceAdapter, open_source
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spec import MethodSpec
from lora_engine.spectrum import ReportProgress, WorkMonitor
from lora_engine.spectrum.low_rank_factors import factor_values

ProposalKind = Literal["uniform", "threshold", "explained variance"]
EVA_RHO = 2


@dataclass(frozen=True, eq=False)
class ModuleDirections:
    """values: singular values of each expert, or of the module. cost: numbers a rank."""

    name: str
    values: tuple[np.ndarray, ...]
    cost: int


@dataclass(frozen=True)
class RankProposal:
    """Ranks by module. target: what `resize` does to get there. energy: kept share of sum sigma^2.

    parameters: at these ranks, at most those of the uniform rank.
    """

    kind: ProposalKind
    ranks: Mapping[str, int]
    target: ResizeTarget
    parameters: int
    energy: float

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "ranks": dict(self.ranks),
            "parameters": self.parameters,
            "energy": self.energy,
        }


@dataclass(frozen=True)
class RankProposals:
    """Proposals for an adapter at the budget of `rank` everywhere; the first is that rank itself.

    trained: the method that trained the adapter; None where it is not known.
    """

    adapter: str
    rank: int
    budget: int
    proposals: tuple[RankProposal, ...]
    trained: MethodSpec | None

    def method(self, proposal: RankProposal, method: MethodSpec | None = None) -> MethodSpec:
        """A run's method with the proposal's ranks; the scaling stays.

        method: to start from; that which trained the adapter where it is None. Raises EngineError
        where neither is known.
        """
        known = method or self.trained
        if known is None:
            raise EngineError(
                tr("The adapter does not say how it was trained."),
                tr("Give the method to train with."),
            )
        power = 0.5 if known.use_rslora else 1.0
        changes = {
            "rank": self.rank,
            "alpha": known.alpha * (self.rank / known.rank) ** power,
            "rank_pattern": {n: r for n, r in proposal.ranks.items() if r != self.rank},
            "alpha_pattern": {},
            "init_from": None,
        }
        return MethodSpec.model_validate({**known.model_dump(), **changes})

    def to_json(self) -> dict[str, Any]:
        found = []
        for one in self.proposals:
            document = one.to_json()
            if self.trained is not None:
                method = self.method(one)
                document["method"] = {
                    "rank": method.rank,
                    "alpha": method.alpha,
                    "rank_pattern": method.rank_pattern,
                    "alpha_pattern": method.consistent_alpha_pattern(),
                }
            found.append(document)
        return {
            "adapter": self.adapter,
            "rank": self.rank,
            "budget": self.budget,
            "proposals": found,
        }


def propose_ranks(
    source: Path,
    rank: int,
    trained: MethodSpec | None = None,
    *,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> RankProposals:
    """Proposals for the adapter in `source` at the budget of `rank` in every module.

    Raises EngineError for a rank that is not below the adapter's largest, which would leave
    nothing to choose; as `resize` for adapters that are no plain products; Stopped.
    """
    opened, monitor = open_source(Path(source)), WorkMonitor(progress, stop)
    largest = max(opened.stored.ranks.values())
    if not 1 <= rank < largest:
        raise EngineError(
            tr(
                "Rank {rank} is asked for; the modules of {name} have ranks up to {largest}, "
                "and directions can be chosen only below that.",
                rank=rank,
                name=opened.name,
                largest=largest,
            ),
            tr(
                "Give a rank from 1 to {largest}, or an adapter of a larger rank.",
                largest=largest - 1,
            )
            if largest > 1
            else tr("Give an adapter of a larger rank."),
        )
    modules = []
    for number, holder in enumerate(opened.stored.holders):
        done = number / len(opened.stored.holders)
        monitor.step(done, tr("decomposing {module}", module=holder))
        modules.append(_module(opened, holder))
    monitor.step(1.0, tr("proposing ranks"))
    uniform = proposal_for("uniform", ToRank(rank), modules)
    return RankProposals(
        adapter=opened.name,
        rank=rank,
        budget=uniform.parameters,
        proposals=(
            uniform,
            *(
                proposal_for(kind, target, modules)
                for kind, target in targets_within(modules, rank, uniform.parameters)
            ),
        ),
        trained=trained,
    )


def proposal_for(
    kind: ProposalKind, target: ResizeTarget, modules: Sequence[ModuleDirections]
) -> RankProposal:
    """What `target` keeps of these modules."""
    ranks = {one.name: kept_rank(one.values, target) for one in modules}
    total = math.fsum(float(np.square(v).sum()) for one in modules for v in one.values)
    kept = math.fsum(
        float(np.square(v[: ranks[one.name]]).sum()) for one in modules for v in one.values
    )
    parameters = sum(one.cost * ranks[one.name] for one in modules)
    return RankProposal(kind, ranks, target, parameters, kept / total if total else 1.0)


def targets_within(
    modules: Sequence[ModuleDirections], rank: int, budget: int
) -> list[tuple[ProposalKind, ResizeTarget]]:
    """The targets that keep as much as the budget of parameters allows, but for `rank` itself."""

    def variance_share(share: float) -> ResizeTarget:
        return ToVarianceShare(share, EVA_RHO * rank)

    values = [value for one in modules for expert in one.values for value in expert.tolist()]
    shares = []
    for one in modules:
        squared = np.sum([np.square(expert) for expert in one.values], axis=0)
        shares += (squared / (squared.sum() or 1.0)).tolist()
    return [
        ("threshold", _lowest_within(budget, values, ToThreshold, modules)),
        ("explained variance", _lowest_within(budget, shares, variance_share, modules)),
    ]


def _lowest_within(
    budget: int,
    candidates: Sequence[float],
    target: Callable[[float], ResizeTarget],
    modules: Sequence[ModuleDirections],
) -> ResizeTarget:
    """The target of the lowest candidate whose ranks stay within the budget, by bisection."""
    values = sorted(set(candidates))
    # Between two values: at one of them, the last bit would decide what `resize` keeps.
    between = [0.0, *((a + b) / 2 for a, b in zip(values, values[1:], strict=False))]
    low, high = 0, len(between) - 1  # the highest keeps hardly more than rank 1 everywhere
    while low < high:
        middle = (low + high) // 2
        ranks = (kept_rank(one.values, target(between[middle])) * one.cost for one in modules)
        low, high = (low, middle) if sum(ranks) <= budget else (middle + 1, high)
    return target(between[low])


def _module(source: SourceAdapter, holder: str) -> ModuleDirections:
    numbers = sum(math.prod(entry.shape) for entry in source.entries(holder))
    return ModuleDirections(
        name=source.module_name(holder),
        values=tuple(factor_values(part) for part in source.factors(holder)),
        cost=numbers // source.stored.ranks[holder],
    )
