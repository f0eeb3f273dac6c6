"""Whether adapters will collide when they are combined, predicted from their factors alone.

Of each two adapters, module by module: how much of one's update lies in the other's directions
(`spectrum.two_adapters`), and in which share of the weight's entries the two weighted updates have
opposite signs, by count and by what cancels:

    cancelled = 1 - sum |x + y| / sum (|x| + |y|),   x and y the weighted updates' entries

Unrelated updates disagree in half of the entries. A prediction: what is lost is measured by the
losses on each one's held-out rows (`losses_beside`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from lora_engine.adapter_operations.combine_sources import (
    CombineSource,
    WeightedAdapter,
    holders_of,
    open_sources,
)
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.language import tr
from lora_engine.spectrum import (
    Factors,
    ReportProgress,
    Verdict,
    WorkMonitor,
    interference_between,
)
from lora_engine.spectrum.low_rank_factors import norm

SAMPLED_ENTRIES = 2**20


@dataclass(frozen=True)
class ModuleInterference:
    """Two adapters on one module, or on one expert of it.

    overlap_first: share of the first's energy in the second's directions, on both sides;
    overlap_second the other way; random_level: what unrelated directions would give. cosine: of
    the weighted updates. sign_conflict, cancelled: of the entries, from every n-th row where the
    weight has more than `SAMPLED_ENTRIES`. weight: the norms of the weighted updates, multiplied;
    the module's share in the summary. verdict: apart, reinforce, oppose or mixed.
    """

    name: str
    first: str
    second: str
    overlap_first: float
    overlap_second: float
    random_level: float
    cosine: float
    sign_conflict: float
    cancelled: float
    weight: float
    verdict: Verdict


@dataclass(frozen=True)
class SourceInterference:
    """One adapter beside all others: means over its modules, each weighing by the updates' norms.

    overlap: share of its own energy in the other's directions. None where it meets no other.
    """

    name: str
    overlap: float | None
    sign_conflict: float | None
    cancelled: float | None


@dataclass(frozen=True)
class PredictedInterference:
    """All pairs and modules, and the means over them, each weighing by the updates' norms.

    modules: strongest overlap first. sources: the adapters in the order in which they were given.
    alone: modules that only one adapter changes.
    """

    modules: tuple[ModuleInterference, ...]
    sources: tuple[SourceInterference, ...]
    overlap: float
    sign_conflict: float
    cancelled: float
    alone: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def predicted_interference(
    sources: Sequence[WeightedAdapter],
    *,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> PredictedInterference:
    """How the adapters will meet where they are combined. Raises as `combine`; Stopped."""
    opened, monitor = open_sources(sources), WorkMonitor(progress, stop)
    holders, met, alone = holders_of(opened), [], 0
    for number, holder in enumerate(holders):
        monitor.step(number / len(holders), tr("comparing {module}", module=holder))
        having = [place for place, one in enumerate(opened) if one.has(holder)]
        alone += len(having) == 1
        factors = {place: opened[place].adapter.factors(holder) for place in having}
        for a, b in combinations(having, 2):
            pair = opened[a], opened[b]
            met += [(a, b, one) for one in _of_pair(holder, pair, factors[a], factors[b])]
    found = [one for _, _, one in met]
    found.sort(key=lambda one: -max(one.overlap_first, one.overlap_second))
    weights = [one.weight for one in found]
    return PredictedInterference(
        modules=tuple(found),
        sources=tuple(_of_source(place, one.name, met) for place, one in enumerate(opened)),
        overlap=_mean([max(one.overlap_first, one.overlap_second) for one in found], weights),
        sign_conflict=_mean([one.sign_conflict for one in found], weights),
        cancelled=_mean([one.cancelled for one in found], weights),
        alone=alone,
    )


def _of_source(
    place: int, name: str, met: Sequence[tuple[int, int, ModuleInterference]]
) -> SourceInterference:
    """The adapter at `place`, from all meetings of two places."""
    own = [(one.overlap_first, one) for a, _, one in met if a == place]
    own += [(one.overlap_second, one) for _, b, one in met if b == place]
    if not own:
        return SourceInterference(name, None, None, None)
    weights = [one.weight for _, one in own]
    return SourceInterference(
        name,
        overlap=_mean([overlap for overlap, _ in own], weights),
        sign_conflict=_mean([one.sign_conflict for _, one in own], weights),
        cancelled=_mean([one.cancelled for _, one in own], weights),
    )


def _of_pair(
    holder: str,
    pair: tuple[CombineSource, CombineSource],
    of_first: Sequence[Factors],
    of_second: Sequence[Factors],
) -> list[ModuleInterference]:
    """The module, or each of its experts; one where an update is zero has no directions to meet."""
    first, second = pair
    found = []
    for number, parts in enumerate(zip(of_first, of_second, strict=True)):
        a, b = parts[0].scaled(first.weight), parts[1].scaled(second.weight)
        cosine, met = interference_between(a, b)
        if met is None or cosine is None:
            continue
        name = first.adapter.module_name(holder)
        conflict, cancelled = sign_conflict(a, b)
        found.append(
            ModuleInterference(
                name=name if len(of_first) == 1 else f"{name}[{number}]",
                first=first.name,
                second=second.name,
                overlap_first=met.overlap_a,
                overlap_second=met.overlap_b,
                random_level=met.random_level,
                cosine=cosine,
                sign_conflict=conflict,
                cancelled=cancelled,
                weight=norm(a) * norm(b),
                verdict=met.verdict,
            )
        )
    return found


def sign_conflict(a: Factors, b: Factors) -> tuple[float, float]:
    """The share of entries where two updates have opposite signs, and the share that cancels.

    Of every n-th row where there are more than `SAMPLED_ENTRIES`.
    """
    rows, columns = a.shape
    step = math.ceil(rows * columns / SAMPLED_ENTRIES)
    x, y = (one.left[::step] @ one.right.astype(np.float64) for one in (a, b))
    both = (x != 0) & (y != 0)
    opposite = int(np.count_nonzero(both & (np.sign(x) != np.sign(y))))
    total = float(np.abs(x).sum() + np.abs(y).sum())
    left = float(np.abs(x + y).sum())
    return opposite / max(1, int(np.count_nonzero(both))), 1.0 - left / total if total else 0.0


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    total = math.fsum(weights)
    products = (value * weight for value, weight in zip(values, weights, strict=True))
    return math.fsum(products) / total if total else 0.0
