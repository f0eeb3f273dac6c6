"""What each possible size of an adapter keeps, before anything is written: bytes and energy.

For every rank, every share of energy and every threshold of a grid. From the singular values of
the factors alone, each module decomposed once; the bytes are those that `resize` would write.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lora_engine.adapter_operations.resize import (
    ResizeTarget,
    ToEnergy,
    ToRank,
    ToThreshold,
    kept_rank,
)
from lora_engine.adapter_operations.source_adapter import SourceAdapter, open_source
from lora_engine.adapter_operations.written_adapter import header_room, item_bytes
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.language import tr
from lora_engine.spectrum import ReportProgress, WorkMonitor
from lora_engine.spectrum.low_rank_factors import factor_values

ENERGIES = tuple(round(0.5 + 0.01 * step, 2) for step in range(50)) + (0.995, 0.999, 1.0)
THRESHOLDS = 60


@dataclass(frozen=True)
class ResizePoint:
    """One possible size. choice: the rank, energy or threshold; bytes: of the weights file.

    energy: kept share of the sum of sigma^2 of all modules. rank: the largest of a module.
    """

    choice: float
    bytes: int
    energy: float
    rank: int


@dataclass(frozen=True)
class ResizeCurve:
    """Every rank up to the adapter's, and a grid of energies and of thresholds; each ascending."""

    ranks: tuple[ResizePoint, ...]
    energies: tuple[ResizePoint, ...]
    thresholds: tuple[ResizePoint, ...]


@dataclass(frozen=True)
class _Module:
    """values: of each expert (or of the module), descending; bytes_a_rank: of both factors."""

    values: list[np.ndarray]
    bytes_a_rank: int


def resize_curve(
    source: Path, *, progress: ReportProgress | None = None, stop: StopSignal = NEVER_STOPPED
) -> ResizeCurve:
    """What `resize` of the adapter in `source` would keep. Raises as `resize`; Stopped."""
    opened, monitor = open_source(Path(source)), WorkMonitor(progress, stop)
    modules = []
    for number, holder in enumerate(opened.stored.holders):
        monitor.step(number / len(opened.stored.holders), tr("decomposing {module}", module=holder))
        modules.append(_module(opened, holder))
    fixed = 8 + header_room(opened.stored.file.tensors)
    fixed += sum(_stored_bytes(opened, key) for key in opened.other_keys())

    def points(targets: Iterable[tuple[float, ResizeTarget]]) -> tuple[ResizePoint, ...]:
        return tuple(_point(choice, target, modules, fixed) for choice, target in targets)

    ranks = range(1, max(opened.stored.ranks.values()) + 1)
    return ResizeCurve(
        ranks=points((rank, ToRank(rank)) for rank in ranks),
        energies=points((energy, ToEnergy(energy)) for energy in ENERGIES),
        thresholds=points((sigma, ToThreshold(sigma)) for sigma in _thresholds(modules)),
    )


def _module(source: SourceAdapter, holder: str) -> _Module:
    numbers = sum(math.prod(entry.shape) for entry in source.entries(holder))
    size = item_bytes(source.dtype(holder)) * numbers // source.stored.ranks[holder]
    return _Module([factor_values(part) for part in source.factors(holder)], size)


def _stored_bytes(source: SourceAdapter, key: str) -> int:
    entry = source.stored.file.tensors[key]
    return entry.end - entry.start


def _point(choice: float, target: ResizeTarget, modules: list[_Module], fixed: int) -> ResizePoint:
    kept = [kept_rank(module.values, target) for module in modules]
    total = math.fsum(float(np.square(one).sum()) for m in modules for one in m.values)
    dropped = math.fsum(
        float(np.square(one[rank:]).sum())
        for module, rank in zip(modules, kept, strict=True)
        for one in module.values
    )
    size = sum(module.bytes_a_rank * rank for module, rank in zip(modules, kept, strict=True))
    return ResizePoint(choice, fixed + size, 1.0 - dropped / total if total else 1.0, max(kept))


def _thresholds(modules: list[_Module]) -> list[float]:
    """From the smallest singular value above 0 to the largest, evenly on a logarithmic scale."""
    values = np.concatenate([one for module in modules for one in module.values])
    above = values[values > values.max(initial=0.0) * 1e-6]
    if not above.size:
        return [0.0]
    return [float(one) for one in np.geomspace(above.min(), above.max(), THRESHOLDS)]
