"""The spectrum of every module of an adapter, exact from its factors: the `spectrum` command.

With the base model at hand it adds each update's share of its weight, and DoRA's true update.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.language import tr, tr_count
from lora_engine.spectrum import metrics
from lora_engine.spectrum.adapter_factors import Adapter, AdapterModule, read_adapter
from lora_engine.spectrum.decomposition import SHARES
from lora_engine.spectrum.delta_on_base import (
    BaseShare,
    dora_delta,
    find_base_weight,
    share_of_base,
)
from lora_engine.spectrum.low_rank_factors import factor_spectrum, factor_values
from lora_engine.spectrum.progress import SILENT, ReportProgress, WorkMonitor
from lora_engine.spectrum.svd import decompose
from lora_engine.weights.checkpoint import Checkpoint, open_checkpoint
from lora_engine.weights.matrix import MatrixSource


def module_place(name: str) -> tuple[int | None, str]:
    """A module's layer, and which part of its layer it is, from its name.

    The layer is the first number in the name; None outside of the layers. The part is the last
    piece, as in `q_proj`; with the number of its expert, as in `3.down_proj`, where the layer has
    several.
    """
    pieces = name.split(".")
    numbered = [place for place, piece in enumerate(pieces) if piece.isdecimal()]
    layer = int(pieces[numbered[0]]) if numbered else None
    inner = [place for place in numbered if place < len(pieces) - 1]
    return layer, ".".join(pieces[inner[1] :]) if len(inner) > 1 else pieces[-1]


@dataclass(frozen=True, eq=False)
class ModuleSpectrum:
    """One module's update in numbers.

    rank: as trained. singular_values: of the update, descending. bias_norm: the norm of the
    trained bias of lora_B, which no singular value shows. complete: False where a DoRA update
    is shown without its magnitude, for lack of the base.
    """

    name: str
    kind: str
    shape: tuple[int, int]
    rank: int
    scaling: float
    singular_values: np.ndarray
    complete: bool = True
    bias_norm: float | None = None
    base: BaseShare | None = None

    @property
    def layer(self) -> int | None:
        """As `module_place`."""
        return module_place(self.name)[0]

    @property
    def part(self) -> str:
        """As `module_place`."""
        return module_place(self.name)[1]

    @property
    def frobenius_norm(self) -> float:
        return math.sqrt(float(np.square(self.singular_values).sum()))

    def directions(self, share: float) -> int:
        """How many directions carry this share of the energy; 0 for a zero update."""
        return metrics.rank_for_energy(self.singular_values, share) or 0

    def sentence(self) -> str:
        """The finding in words."""
        if not np.any(self.singular_values):
            return tr("Rank {rank} was trained; the update is zero.", rank=self.rank)
        return tr_count(
            "Rank {rank} was trained; {count} direction carries 95 % of the update.",
            "Rank {rank} was trained; {count} directions carry 95 % of the update.",
            self.directions(0.95),
            rank=self.rank,
        )

    def to_json(self) -> dict[str, Any]:
        k90, k95, k99 = (self.directions(share) for share in SHARES)
        found: dict[str, Any] = {
            "name": self.name,
            "layer": self.layer,
            "part": self.part,
            "kind": self.kind,
            "shape": list(self.shape),
            "rank": self.rank,
            "scaling": self.scaling,
            "singular_values": self.singular_values.tolist(),
            "frobenius_norm": self.frobenius_norm,
            "effective_rank": metrics.effective_rank(self.singular_values),
            "stable_rank": metrics.stable_rank(self.singular_values),
            "k90": k90,
            "k95": k95,
            "k99": k99,
            "complete": self.complete,
            "bias_norm": self.bias_norm,
        }
        if self.base is not None:
            found |= vars(self.base)
        return found


@dataclass(frozen=True, eq=False)
class AdapterSpectrum:
    """All modules of an adapter, and what a reader must know besides."""

    path: Path
    modules: tuple[ModuleSpectrum, ...]
    notes: tuple[str, ...]

    def sentence(self) -> str:
        """The adapter in words: what was trained and how much of it is used (the median)."""
        used = sorted(module.directions(0.95) for module in self.modules)
        ranks = sorted({module.rank for module in self.modules})
        several = {"low": ranks[0], "high": ranks[-1]}
        trained = str(ranks[0]) if len(ranks) == 1 else tr("{low} to {high}", **several)
        return tr_count(
            "Rank {rank} was trained; {count} direction carries 95 % of the update (median "
            "module).",
            "Rank {rank} was trained; {count} directions carry 95 % of the update (median module).",
            used[len(used) // 2],
            rank=trained,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "modules": [module.to_json() for module in self.modules],
            "sentence": self.sentence(),
            "notes": list(self.notes),
        }


def describe_adapter(
    path: str | Path | Adapter,
    base: str | Path | Checkpoint | None = None,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> AdapterSpectrum:
    """The spectrum of every module's update.

    base: the base model's folder; without it a DoRA update lacks its magnitude, and no share
    of the base weight is given. Raises EngineError for an unsound adapter or another base.
    """
    monitor = WorkMonitor(progress, stop)
    adapter = path if isinstance(path, Adapter) else read_adapter(path, monitor.part(0.0, 0.0))
    weights = base if base is None or isinstance(base, Checkpoint) else open_checkpoint(base)
    modules, missing = [], []
    for number, module in enumerate(adapter.modules):
        monitor.step(number / len(adapter.modules), module.name)
        weight = find_base_weight(weights, module) if weights is not None else None
        if weights is not None and weight is None:
            missing.append(module.name)
        modules.append(describe_module(module, weight, monitor))
    monitor.step(1.0, tr("done"))
    return AdapterSpectrum(
        adapter.path, tuple(modules), (*adapter.notes, *_notes(modules, missing))
    )


def describe_module(
    module: AdapterModule, base: MatrixSource | None = None, monitor: WorkMonitor = SILENT
) -> ModuleSpectrum:
    """One module's spectrum; base: its weight as (out_features, in_features), if at hand."""
    share = None
    if module.magnitude is not None and base is not None:
        delta = dora_delta(module, base, WorkMonitor(stop=monitor.stop))
        found = decompose(delta, vectors=module.rank, stop=monitor.stop)
        values = found.singular_values
        top = min(module.rank, found.left.shape[1])
        share = share_of_base(base, found.left[:, :top], found.right[:, :top], found.frobenius_norm)
    elif base is not None:
        spectrum = factor_spectrum(module.factors)
        values, top = spectrum.singular_values, spectrum.rank
        size = math.sqrt(float(np.square(values).sum()))
        share = share_of_base(base, spectrum.left[:, :top], spectrum.right[:, :top], size)
    else:
        values = factor_values(module.factors)
    return ModuleSpectrum(
        name=module.name,
        kind=module.kind,
        shape=module.shape,
        rank=module.rank,
        scaling=module.scaling,
        singular_values=values,
        complete=module.magnitude is None or base is not None,
        bias_norm=None if module.bias is None else _norm(module.bias) * module.scaling,
        base=share,
    )


def _norm(values: np.ndarray) -> float:
    return float(np.linalg.norm(values.astype(np.float64)))


def _notes(modules: list[ModuleSpectrum], missing: list[str]) -> tuple[str, ...]:
    notes = []
    if any(not module.complete for module in modules):
        notes.append(
            tr(
                "DoRA without the base model: these are the spectra of scaling * B A; the true "
                "update, magnitude included, needs the base weight."
            )
        )
    if any(module.bias_norm is not None for module in modules):
        notes.append(
            tr("lora_bias: each module also adds a trained bias, outside of delta_weight.")
        )
    if missing:
        names = ", ".join(missing[:5])
        notes.append(tr("The base has no weight of its own for: {names}.", names=names))
    return tuple(notes)
