"""An adapter at a smaller rank: each module's update truncated to its leading directions.

    delta_weight = U diag(sigma) V^T,  kept: the first k, error = sqrt(sum of dropped sigma^2)

No other update of rank k is nearer (Eckart-Young). Computed from the factors, float64 in the
core, one module in memory at a time. sigma is split evenly, sqrt(sigma / scaling) into A and B;
every module keeps its scaling, so a bias of lora_B still means the same, and a run that goes on
from the adapter meets the strength it was trained with. Knows nothing of models and of losses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lora_engine.adapter_operations.source_adapter import (
    SourceAdapter,
    open_source,
    write_factors,
    written_config,
    written_provenance,
)
from lora_engine.adapter_operations.written_adapter import (
    AdapterWriter,
    ModuleScale,
    check_rank,
    item_bytes,
    scale_fields,
    written_adapter,
)
from lora_engine.adapters.config import WEIGHTS_FILE
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum import Factors, ReportProgress, WorkMonitor, factor_spectrum
from lora_engine.spectrum.low_rank_factors import FactorSpectrum, norm


@dataclass(frozen=True)
class ToRank:
    """Every module to this rank; one of a smaller rank keeps its own."""

    rank: int

    def check(self) -> None:
        check_rank(self.rank)

    def rank_for(self, values: Sequence[np.ndarray]) -> int:
        return self.rank


@dataclass(frozen=True)
class ToEnergy:
    """Every module to the smallest rank that keeps this share of its sum of sigma^2 (0 to 1)."""

    energy: float

    def check(self) -> None:
        if not 0.0 < self.energy <= 1.0:
            raise EngineError(
                tr(
                    "The energy to keep is {energy}; more than 0 and at most 1 is possible.",
                    energy=f"{self.energy:g}",
                ),
                tr("Give a share, such as 0.99."),
            )

    def rank_for(self, values: Sequence[np.ndarray]) -> int:
        squared = np.sum([np.square(one) for one in values], axis=0)
        if not squared.any():
            return 0
        # a share of exactly 1 must not be missed by the last rounding of the sum
        curve = np.cumsum(squared) / squared.sum()
        return int(np.searchsorted(curve, self.energy * (1 - 1e-12))) + 1


@dataclass(frozen=True)
class ToThreshold:
    """Every direction of every module whose singular value is at least `sigma`."""

    sigma: float

    def check(self) -> None:
        if not (self.sigma >= 0.0 and math.isfinite(self.sigma)):
            raise EngineError(
                tr(
                    "The threshold is {sigma}; a finite number from 0 on is possible.",
                    sigma=f"{self.sigma:g}",
                ),
                tr("Give a singular value; the curve of sizes shows which there are."),
            )

    def rank_for(self, values: Sequence[np.ndarray]) -> int:
        return max(int(np.count_nonzero(one >= self.sigma)) for one in values)


@dataclass(frozen=True)
class ToVarianceShare:
    """Every direction with at least this share of its module's sum of sigma^2, at most `most`.

    What EVA (arXiv 2410.07170) calls explained variance, here of the update.
    """

    share: float
    most: int

    def check(self) -> None:
        check_rank(self.most)
        if not 0.0 <= self.share <= 1.0:
            raise EngineError(
                tr(
                    "The share of variance is {share}; 0 to 1 is possible.", share=f"{self.share:g}"
                ),
                tr("Give a share, such as 0.05."),
            )

    def rank_for(self, values: Sequence[np.ndarray]) -> int:
        squared = np.sum([np.square(one) for one in values], axis=0)
        if not squared.any():
            return 0
        return min(self.most, int(np.count_nonzero(squared >= self.share * squared.sum())))


ResizeTarget = ToRank | ToEnergy | ToThreshold | ToVarianceShare


def one_target(rank: int | None, energy: float | None, threshold: float | None) -> ResizeTarget:
    """The target that is given. Raises EngineError for none or several, and as its `check`."""
    given: list[ResizeTarget] = [
        *([] if rank is None else [ToRank(rank)]),
        *([] if energy is None else [ToEnergy(energy)]),
        *([] if threshold is None else [ToThreshold(threshold)]),
    ]
    if len(given) != 1:
        raise EngineError(
            tr(
                "One of rank, energy and threshold is needed, and {count} are given.",
                count=len(given),
            ),
            tr("Give one of them, such as a rank of 8."),
        )
    given[0].check()
    return given[0]


@dataclass(frozen=True)
class ModuleResize:
    """What became of one module. Errors are Frobenius norms, of its update.

    energy: kept share of the sum of sigma^2 (1 for a zero update). truncation_error:
    sqrt(sum of dropped sigma^2). rounding_error: of storing the new factors. error: of both,
    which are orthogonal up to their product.
    """

    name: str
    old_rank: int
    new_rank: int
    energy: float
    error: float
    truncation_error: float
    rounding_error: float


@dataclass(frozen=True)
class ResizeReport:
    """A written adapter. energy and error: over all modules together. bytes: of the weights."""

    path: Path
    modules: tuple[ModuleResize, ...]
    old_bytes: int
    new_bytes: int
    energy: float
    error: float

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path), "modules": [*map(asdict, self.modules)]}


def resize(
    source: Path,
    output: Path,
    target: ResizeTarget,
    *,
    overwrite: bool = False,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> ResizeReport:
    """Write the adapter in `source` at a smaller rank into `output`.

    Every module keeps at least rank 1, so that the configuration still says which modules are
    adapted; each tensor keeps its type. Biases, modules saved whole and tokenizer files go along.
    Raises EngineError for DoRA and other forms that are no plain product, a rank above the
    adapter's, a value that is not finite; Conflict for an output that exists; Stopped.
    """
    target.check()
    opened = open_source(Path(source))
    _check_smaller(opened, target)
    monitor = WorkMonitor(progress, stop)
    stored, done = opened.stored, []
    with written_adapter(Path(output), stored.file.tensors, overwrite) as writer:
        for number, holder in enumerate(_largest_numbers_first(opened)):
            monitor.step(number / len(stored.file.tensors), tr("resizing {module}", module=holder))
            if holder in stored.keys.factors:
                done.append((holder, *_resize_module(writer, opened, holder, target)))
            else:
                writer.copy(stored.file, holder)
        scales = {
            opened.module_name(holder): ModuleScale(one.new_rank, stored.scalings[holder])
            for holder, one, _ in done
        }
        modules = tuple(one for _, one, _ in done)
        energy, error = _together([(one, total) for _, one, total in done])
        writer.finish(
            written_config(opened, scale_fields(scales, stored.config.use_rslora)),
            written_provenance(
                opened.provenance,
                {
                    "kind": "resize",
                    "sources": [opened.identity()],
                    "target": {"kind": type(target).__name__, **asdict(target)},
                    "energy": energy,
                    "error": error,
                },
            ),
            companions=opened.path,
        )
        new_bytes = (writer.folder / WEIGHTS_FILE).stat().st_size
    return ResizeReport(Path(output), modules, stored.file.size_bytes, new_bytes, energy, error)


def kept_rank(values: Sequence[np.ndarray], target: ResizeTarget) -> int:
    """The rank a module keeps. values: its singular values, descending, of each expert."""
    return max(1, min(target.rank_for(values), values[0].size))


def truncated(parts: Sequence[FactorSpectrum], rank: int, scaling: float) -> list[Factors]:
    """The first `rank` directions with sqrt(sigma / scaling) in both factors."""
    factors = []
    for part in parts:
        root = np.sqrt(part.singular_values[:rank] / scaling)
        factors.append(Factors(part.left[:, :rank] * root, (part.right[:, :rank] * root).T))
    return factors


def rounding_error(exact: Factors, stored: Factors) -> float:
    """||B A - B' A'||_F, from the small differences: (B - B') A + B' (A - A')."""
    left, right = stored.left.astype(np.float64), stored.right.astype(np.float64)
    return norm(
        Factors(
            np.concatenate([exact.left - left, left], axis=1),
            np.concatenate([exact.right, exact.right - right], axis=0),
        )
    )


def _resize_module(
    writer: AdapterWriter, source: SourceAdapter, holder: str, target: ResizeTarget
) -> tuple[ModuleResize, float]:
    """Write one module; what became of it, and its ||delta_weight||_F^2."""
    old_rank, scaling = source.stored.ranks[holder], source.stored.scalings[holder]
    parts = [factor_spectrum(factors) for factors in source.factors(holder)]
    values = [part.singular_values for part in parts]
    rank = kept_rank(values, target)
    exact = truncated(parts, rank, scaling)
    stored = write_factors(writer, source.entries(holder), exact, source.dtype(holder))
    rounding = scaling * math.hypot(
        *(rounding_error(*pair) for pair in zip(exact, stored, strict=True))
    )
    total = float(sum(np.square(one).sum() for one in values))
    dropped = float(sum(np.square(one[rank:]).sum() for one in values))
    return (
        ModuleResize(
            name=source.module_name(holder),
            old_rank=old_rank,
            new_rank=rank,
            energy=1.0 - dropped / total if total else 1.0,
            error=math.sqrt(dropped + rounding**2),
            truncation_error=math.sqrt(dropped),
            rounding_error=rounding,
        ),
        total,
    )


def _together(done: Sequence[tuple[ModuleResize, float]]) -> tuple[float, float]:
    """The energy kept and the error made in all modules together."""
    total = math.fsum(norm_squared for _, norm_squared in done)
    dropped = math.fsum(one.truncation_error**2 for one, _ in done)
    error = math.sqrt(math.fsum(one.error**2 for one, _ in done))
    return (1.0 - dropped / total if total else 1.0), error


def _largest_numbers_first(source: SourceAdapter) -> list[str]:
    """The modules and the other tensors, ordered by the size of their numbers, then as stored."""
    sizes = {holder: item_bytes(source.dtype(holder)) for holder in source.stored.holders}
    sizes |= {key: item_bytes(source.stored.file.tensors[key].dtype) for key in source.other_keys()}
    return sorted(sizes, key=lambda name: -sizes[name])


def _check_smaller(source: SourceAdapter, target: ResizeTarget) -> None:
    largest = max(source.stored.ranks.values())
    if isinstance(target, ToRank) and target.rank > largest:
        raise EngineError(
            tr(
                "Rank {rank} is asked for; the modules of {name} have ranks up to {largest}, "
                "and a larger one would add nothing but zeros.",
                rank=target.rank,
                name=source.name,
                largest=largest,
            ),
            tr("Give a rank from 1 to {largest}.", largest=largest),
        )
