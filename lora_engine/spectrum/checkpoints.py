"""Two checkpoints of one model: what changed, module by module, streamed from both files."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum import metrics
from lora_engine.spectrum.decomposition import GRAM_SIDE, Decomposition
from lora_engine.spectrum.dense import blocks, gram_matrix, symmetric_eigen
from lora_engine.spectrum.progress import SILENT, ReportProgress, WorkMonitor
from lora_engine.spectrum.storage_noise import rounding_noise
from lora_engine.spectrum.svd import decompose
from lora_engine.weights.checkpoint import Checkpoint, open_checkpoint
from lora_engine.weights.matrix import MatrixSource, TensorInfo, Transposed, describe_shape

TOP_DIRECTIONS = 10
INTRUDER_COSINE = 0.5


@dataclass(frozen=True)
class DifferenceSource:
    """tuned - base as a matrix source; both of one shape."""

    base: MatrixSource
    tuned: MatrixSource
    dtype: str = "float32"
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.base.name

    @property
    def shape(self) -> tuple[int, int]:
        return self.base.shape

    def rows(self, start: int, stop: int) -> np.ndarray:
        base = self.base.rows(start, stop).astype(np.float64)
        return self.tuned.rows(start, stop) - base

    def columns(self, start: int, stop: int) -> np.ndarray:
        base = self.base.columns(start, stop).astype(np.float64)
        return self.tuned.columns(start, stop) - base


@dataclass(frozen=True)
class Intruder:
    """A top direction of the tuned weight that the base did not have (arXiv 2410.21228).

    place: its rank among the tuned weight's directions, from 1. cosine: the largest |cos|
    with any of the base's left singular vectors.
    """

    place: int
    singular_value: float
    cosine: float


@dataclass(frozen=True, eq=False)
class ModuleChange:
    """One matrix of two checkpoints. decomposition and intruders are None where unchanged or
    not asked for; intruders also where the matrix is too large for all base directions."""

    name: str
    shape: tuple[int, int]
    base_norm: float
    change_norm: float
    decomposition: Decomposition | None = None
    intruders: tuple[Intruder, ...] | None = None

    @property
    def changed(self) -> bool:
        return self.change_norm > 0

    @property
    def relative_change(self) -> float:
        if not self.base_norm:
            return math.inf if self.changed else 0.0
        return self.change_norm / self.base_norm

    @property
    def effective_rank(self) -> float | None:
        """Of the values above the rounding of the stored numbers; None where it is not known."""
        found = self.decomposition
        if found is None or found.noise is None:
            return found.summary().effective_rank if found else None
        values = found.singular_values
        return metrics.effective_rank(values[values > found.noise.edge])

    def to_json(self) -> dict[str, Any]:
        """The keys of the contract, then more.

        rank and effective_rank count the values above the rounding of the checkpoints' numbers,
        where these are stored in half precision or 8 bits; stored_rank counts all.
        """
        found = self.decomposition
        if found is None:
            return {**self._sizes(), **NOTHING_DECOMPOSED}
        summary, values = found.summary(), found.singular_values
        noise = summary.noise
        above = None if found.noise is None else int((values > found.noise.edge).sum())
        return {
            **self._sizes(),
            "rank": summary.rank if above is None else min(summary.rank, above),
            "stored_rank": summary.rank,
            "singular_values": values.tolist(),
            "method": found.method,
            "effective_rank": self.effective_rank,
            "stable_rank": summary.stable_rank,
            "k90": summary.k90,
            "k95": summary.k95,
            "k99": summary.k99,
            "noise": asdict(noise) if noise else None,
        }

    def _sizes(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "shape": list(self.shape),
            "changed": self.changed,
            "scaling": 1.0,
            "frobenius_norm": self.change_norm,
            "base_norm": self.base_norm,
            "relative_norm": self.relative_change if self.base_norm else None,
            "intruders": None if self.intruders is None else [vars(i) for i in self.intruders],
        }


NOTHING_DECOMPOSED: dict[str, Any] = {
    **dict.fromkeys(("rank", "stored_rank", "k90", "k95", "k99"), 0),
    **dict.fromkeys(("effective_rank", "stable_rank"), 0.0),
    "singular_values": [],
    "method": None,
    "noise": None,
}


@dataclass(frozen=True, eq=False)
class CheckpointComparison:
    """All matrices of two checkpoints, the other tensors that changed, and those only in one."""

    modules: tuple[ModuleChange, ...]
    changed_vectors: tuple[str, ...]
    only_in_base: tuple[str, ...]
    only_in_tuned: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "modules": [module.to_json() for module in self.modules],
            "changed": [module.name for module in self.modules if module.changed],
            "changed_vectors": list(self.changed_vectors),
            "only_in_base": list(self.only_in_base),
            "only_in_tuned": list(self.only_in_tuned),
        }


def compare_checkpoints(
    base: str | Path | Checkpoint,
    tuned: str | Path | Checkpoint,
    spectra: bool = True,
    intruders: bool = False,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> CheckpointComparison:
    """Compare two checkpoints of one model tensor by tensor; neither is ever held whole.

    spectra: the spectrum of tuned - base for each matrix that changed. intruders: also the
    intruder dimensions, which takes two full eigendecompositions a matrix.
    Raises EngineError when nothing fits, a tensor has two shapes, or one of the two holds packed
    weights where the other has numbers.
    """
    first, second = (c if isinstance(c, Checkpoint) else open_checkpoint(c) for c in (base, tuned))
    ours = {info.name: info for info in first.listing()}
    theirs = {info.name: info for info in second.listing()}
    first.refuse_packed(name for name in ours if name not in theirs)
    second.refuse_packed(name for name in theirs if name not in ours)
    common = [info for name, info in ours.items() if name in theirs]
    if not common:
        raise EngineError(
            tr("The two checkpoints have no tensor name in common."),
            tr("Give two checkpoints of the same model; for an adapter use its own spectrum."),
        )
    _check_shapes(common, theirs)
    monitor = WorkMonitor(progress, stop)
    modules, vectors = [], []
    for number, info in enumerate(common):
        part = monitor.part(number / len(common), (number + 1) / len(common))
        part.step(0.0, info.name)
        if len(info.shape) == 2 and info.dtype != "BOOL":
            pair = first.matrix(info.name), second.matrix(info.name)
            modules.append(_compare_module(*pair, spectra, intruders, part))
        elif not _equal(first, second, info.name):
            vectors.append(info.name)
    monitor.step(1.0, tr("done"))
    return CheckpointComparison(
        modules=tuple(modules),
        changed_vectors=tuple(vectors),
        only_in_base=tuple(name for name in ours if name not in theirs),
        only_in_tuned=tuple(name for name in theirs if name not in ours),
    )


def _check_shapes(common: list[TensorInfo], theirs: dict[str, TensorInfo]) -> None:
    for info in common:
        other = theirs[info.name]
        if info.shape != other.shape:
            raise EngineError(
                tr(
                    "{name} is {shape} in the base and {shape_2} in the tuned checkpoint.",
                    name=info.name,
                    shape=describe_shape(info.shape),
                    shape_2=describe_shape(other.shape),
                ),
                tr("Give two checkpoints of the same model."),
            )


def _equal(first: Checkpoint, second: Checkpoint, name: str) -> bool:
    """Whether a tensor that is no matrix is the same in both, by its bytes or by its values."""
    if first.stored_dtype(name) == second.stored_dtype(name):
        pairs = zip(first.raw_blocks(name), second.raw_blocks(name), strict=True)
        return all(ours == theirs for ours, theirs in pairs)
    return np.array_equal(first.tensor(name), second.tensor(name))


def _compare_module(
    base: MatrixSource, tuned: MatrixSource, spectra: bool, intruders: bool, monitor: WorkMonitor
) -> ModuleChange:
    difference = DifferenceSource(base, tuned)
    base_squared = change_squared = 0.0
    for start, stop in blocks(*base.shape):
        monitor.step(0.0, base.name)
        block = base.rows(start, stop).astype(np.float64)
        base_squared += float(np.square(block).sum())
        change_squared += float(np.square(tuned.rows(start, stop) - block).sum())
    found = strangers = None
    if change_squared and spectra:
        monitor.step(0.2, base.name)
        found = decompose(difference, vectors=0, stop=monitor.stop)
        found = replace(found, noise=rounding_noise([base, tuned]))
    if change_squared and intruders and min(base.shape) <= GRAM_SIDE:
        monitor.step(0.6, base.name)
        strangers = intruder_dimensions(base, tuned, monitor=monitor.part(0.6, 1.0))
    return ModuleChange(
        name=base.name,
        shape=base.shape,
        base_norm=math.sqrt(base_squared),
        change_norm=math.sqrt(change_squared),
        decomposition=found,
        intruders=strangers,
    )


def intruder_dimensions(
    base: MatrixSource,
    tuned: MatrixSource,
    top: int = TOP_DIRECTIONS,
    epsilon: float = INTRUDER_COSINE,
    monitor: WorkMonitor = SILENT,
) -> tuple[Intruder, ...]:
    """The tuned weight's top left singular vectors u with max_j |cos(u, u_j)| < epsilon over
    all left singular vectors u_j of the base (arXiv 2410.21228, algorithm 1).

    The base's vectors come from its Gram matrix. Where W is tall, u_j = W v_j / s_j is never
    formed: u^T u_j = (u^T W) v_j / s_j.
    """
    found = decompose(tuned, "gram", vectors=top, stop=monitor.stop)
    directions = found.left  # (rows, top)
    wide = base.shape[0] <= base.shape[1]
    gram, _ = gram_matrix(base if wide else Transposed(base), monitor)
    eigenvalues, vectors = symmetric_eigen(gram, True)
    if wide:
        cosines = directions.T @ vectors
    else:
        through = np.zeros((directions.shape[1], base.shape[1]))
        for start, stop in blocks(*base.shape):
            through += directions[start:stop].T @ base.rows(start, stop)
        values = np.sqrt(np.maximum(eigenvalues, 0.0))
        floor = found.value_floor
        cosines = (through @ vectors) / np.where(values > floor, values, np.inf)
    largest = np.abs(cosines).max(axis=1)
    return tuple(
        Intruder(place + 1, float(found.singular_values[place]), float(largest[place]))
        for place in range(directions.shape[1])
        if largest[place] < epsilon
    )
