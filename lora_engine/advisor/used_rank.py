"""What of the trained ranks was used: each run's spectrum, and which directions runs share.

The directions of two runs are compared by phi(i, j) (LoRA paper, figures 3 and 4), beside the level
of random directions. What one training used is no proof of what the task needs.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lora_engine.advisor.children import Child
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.language import tr
from lora_engine.spectrum import (
    ModuleSimilarity,
    ReportProgress,
    WorkMonitor,
    compare_checkpoints,
    describe_adapter,
    similarity,
)
from lora_engine.spectrum.adapter_spectrum import ModuleSpectrum
from lora_engine.spectrum.metrics import effective_rank, energy_curve

CLAIMED_VALUES, CLAIMED_ENERGY = (10, 20), 0.9
MOST_PAIRS = 8


@dataclass(frozen=True)
class ModuleUse:
    """One module's update. layer: None outside of the layers. k90: directions with 90 % of its
    sum of sigma^2, and so on. energy_of_10, energy_of_20: the share of so many directions."""

    name: str
    layer: int | None
    part: str
    rank: int
    effective_rank: float
    k90: int
    k95: int
    k99: int
    energy_of_10: float
    energy_of_20: float


@dataclass(frozen=True)
class RunUse:
    """One run's modules. k90 and the rest: medians over them."""

    run: str
    rank: int
    seed: int
    effective_rank: float
    k90: float
    k95: float
    k99: float
    modules: tuple[ModuleUse, ...]


@dataclass(frozen=True)
class ClaimTest:
    """ "10 to 20 singular values hold 90 % of the energy", tested on these updates.

    testable: modules trained with more than 20 directions; below, 20 values hold everything.
    holding_10, holding_20: how many of them have 90 % in so many values.
    """

    testable: int
    untestable: int
    holding_10: int
    holding_20: int

    def sentence(self) -> str:
        if not self.testable:
            return tr(
                "No module was trained with more than 20 directions, so the claim that 10 to 20 "
                "singular values hold 90 % of the energy cannot fail here."
            )
        return tr(
            "In {holding_20} of {testable} modules 20 singular values hold 90 % of the energy, in "
            "{holding_10} already 10.",
            holding_20=self.holding_20,
            testable=self.testable,
            holding_10=self.holding_10,
        )


@dataclass(frozen=True, eq=False)
class SharedDirections:
    """Two runs that differ in their rank or their seed. modules: phi of each, and random levels."""

    first: str
    second: str
    differ_in: Literal["rank", "seed"]
    modules: tuple[ModuleSimilarity, ...]

    def mean_phi(self, k: int) -> tuple[float, float] | None:
        """phi(k, k) and its random level, means over the modules that have k directions."""
        able = [one for one in self.modules if min(one.phi.shape, default=0) >= k]
        if not able:
            return None
        phi = statistics.fmean(float(one.phi[k - 1, k - 1]) for one in able)
        return phi, statistics.fmean(k / one.dimension for one in able)

    def to_json(self) -> dict[str, Any]:
        largest = max((min(one.phi.shape) for one in self.modules), default=0)
        means = {k: self.mean_phi(k) for k in (1, 2, 4, 8, 16, 32, 64) if k <= largest}
        return {
            "first": self.first,
            "second": self.second,
            "differ_in": self.differ_in,
            "mean_phi": {
                str(k): {"phi": found[0], "random_level": found[1]}
                for k, found in means.items()
                if found is not None
            },
        }


@dataclass(frozen=True, eq=False)
class UsedRank:
    """What the runs used, and what they share."""

    runs: tuple[RunUse, ...]
    pairs: tuple[SharedDirections, ...]
    claim: ClaimTest

    def to_json(self) -> dict[str, Any]:
        return {
            "runs": [asdict(one) for one in self.runs],
            "pairs": [one.to_json() for one in self.pairs],
            "claim": {**asdict(self.claim), "sentence": self.claim.sentence()},
        }


def used_rank(
    children: Sequence[Child],
    *,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> UsedRank:
    """What each child used; and phi between neighbouring ranks, the outermost two, and seeds.

    Raises EngineError for an unsound adapter; Stopped.
    """
    monitor = WorkMonitor(progress, stop)
    pairs = list(_pairs(children))[:MOST_PAIRS]
    steps = len(children) + len(pairs)
    runs = []
    for number, child in enumerate(children):
        monitor.step(number / steps, tr("spectrum of {run}", run=child.id))
        runs.append(_use(child, describe_adapter(child.adapter, stop=stop).modules))
    shared = []
    for number, (first, second, differ_in) in enumerate(pairs, len(children)):
        said = tr("directions of {first} and {second}", first=first.id, second=second.id)
        monitor.step(number / steps, said)
        found = similarity(first.adapter, second.adapter, stop=stop)
        shared.append(SharedDirections(first.id, second.id, differ_in, found.modules))
    monitor.step(1.0, tr("done"))
    return UsedRank(
        tuple(runs), tuple(shared), claim_test([m for run in runs for m in run.modules])
    )


def claim_test(modules: Sequence[ModuleUse]) -> ClaimTest:
    """The claim on these modules."""
    able = [one for one in modules if one.rank > CLAIMED_VALUES[1]]
    return ClaimTest(
        testable=len(able),
        untestable=len(modules) - len(able),
        holding_10=sum(one.energy_of_10 >= CLAIMED_ENERGY for one in able),
        holding_20=sum(one.energy_of_20 >= CLAIMED_ENERGY for one in able),
    )


def claim_on_checkpoints(
    base: Path,
    tuned: Path,
    *,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> ClaimTest:
    """The claim on what full fine-tuning changed, every changed matrix.

    Raises as `compare_checkpoints`; Stopped.
    """
    found = compare_checkpoints(base, tuned, progress=progress, stop=stop)
    energies = [
        energy_curve(one.decomposition.singular_values, one.change_norm**2)
        for one in found.modules
        if one.decomposition is not None
    ]
    able = [energy for energy in energies if energy.size > CLAIMED_VALUES[1]]
    of_10, of_20 = (
        sum(bool(energy[k - 1] >= CLAIMED_ENERGY) for energy in able) for k in CLAIMED_VALUES
    )
    return ClaimTest(len(able), len(energies) - len(able), of_10, of_20)


def module_use(module: ModuleSpectrum) -> ModuleUse:
    """The figures of one module's spectrum."""
    energy = energy_curve(module.singular_values)
    of_10, of_20 = (float(energy[min(k, energy.size) - 1]) for k in CLAIMED_VALUES)
    return ModuleUse(
        name=module.name,
        layer=module.layer,
        part=module.part,
        rank=module.rank,
        effective_rank=effective_rank(module.singular_values),
        k90=module.directions(0.9),
        k95=module.directions(0.95),
        k99=module.directions(0.99),
        energy_of_10=of_10,
        energy_of_20=of_20,
    )


def _use(child: Child, modules: Sequence[ModuleSpectrum]) -> RunUse:
    found = tuple(module_use(one) for one in modules)
    return RunUse(
        run=child.id,
        rank=child.rank,
        seed=child.spec.seed,
        effective_rank=statistics.median(one.effective_rank for one in found),
        k90=statistics.median(one.k90 for one in found),
        k95=statistics.median(one.k95 for one in found),
        k99=statistics.median(one.k99 for one in found),
        modules=found,
    )


def _pairs(
    children: Sequence[Child],
) -> Iterator[tuple[Child, Child, Literal["rank", "seed"]]]:
    """Per rank the first child stands for it; seeds are compared within one setting."""
    by_rank: dict[int, Child] = {}
    for one in children:
        by_rank.setdefault(one.rank, one)
    ranks = sorted(by_rank)
    neighbours = list(zip(ranks, ranks[1:], strict=False))
    if len(ranks) > 2:
        neighbours.append((ranks[0], ranks[-1]))
    first_of: dict[str, Child] = {}
    for one in children:
        if (first := first_of.setdefault(one.setting, one)) is not one:
            yield first, one, "seed"
    for low, high in neighbours:
        yield by_rank[low], by_rank[high], "rank"
