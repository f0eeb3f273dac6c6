"""Two adapters side by side: shared directions, angle and distance, and whether they collide.

phi(i, j) = ||U1[:, :i]^T U2[:, :j]||_F^2 / min(i, j), between 0 (orthogonal) and 1 (one inside
the other); LoRA paper, equation 4. On the update it depends on the update alone. On A it also
depends on the gauge (A -> R A, B -> B R^-1 changes it and not the update), as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum.adapter_factors import Adapter, AdapterModule, read_adapter
from lora_engine.spectrum.low_rank_factors import (
    Factors,
    FactorSpectrum,
    factor_spectrum,
    factor_values,
    inner_product,
    stack,
)
from lora_engine.spectrum.metrics import numerical_rank
from lora_engine.spectrum.progress import ReportProgress, WorkMonitor
from lora_engine.weights.matrix import describe_shape

On = Literal["delta", "A"]
Side = Literal["left", "right"]
NOTABLE_OVERLAP = 0.1


Verdict = Literal["apart", "reinforce", "oppose", "mixed"]


@dataclass(frozen=True)
class Interference:
    """What happens to each update when both are added to one weight.

    overlap_a: share of update A's energy that lies in B's directions on both sides,
    ||U_B^T dA V_B||_F^2 / ||dA||_F^2; overlap_b the same for B. random_level: what random
    directions of these ranks would give, on average, for overlap_a. verdict: in words.
    """

    overlap_a: float
    overlap_b: float
    random_level: float
    verdict: Verdict


@dataclass(frozen=True, eq=False)
class ModuleSimilarity:
    """One module of both adapters.

    phi[i - 1, j - 1] is phi(i, j); its size is the number of directions each update really has,
    so a zero update gives an empty phi. random_level[i - 1, j - 1] = max(i, j) / dimension.
    cosine and distance are of the updates, in the Frobenius sense; cosine is None for zero.
    """

    name: str
    phi: np.ndarray
    dimension: int
    cosine: float | None
    distance: float
    norm_a: float
    norm_b: float
    interference: Interference | None

    @property
    def random_level(self) -> np.ndarray:
        """The mean of phi for random subspaces: (i j / n) / min(i, j) = max(i, j) / n."""
        i = np.arange(1, self.phi.shape[0] + 1)[:, None]
        j = np.arange(1, self.phi.shape[1] + 1)[None, :]
        return np.maximum(i, j) / self.dimension

    def to_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "phi": self.phi.tolist(),
            "random_level": self.random_level.tolist(),
            "dimension": self.dimension,
            "cosine": self.cosine,
            "distance": self.distance,
            "norm_a": self.norm_a,
            "norm_b": self.norm_b,
            "interference": dict(vars(self.interference)) if self.interference else None,
        }


@dataclass(frozen=True, eq=False)
class Similarity:
    """Two adapters, module by module."""

    on: On
    modules: tuple[ModuleSimilarity, ...]
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        return {
            "on": self.on,
            "modules": [module.to_json() for module in self.modules],
            "only_in_a": list(self.only_in_a),
            "only_in_b": list(self.only_in_b),
            "notes": list(self.notes),
        }


def similarity(
    path_a: str | Path | Adapter,
    path_b: str | Path | Adapter,
    on: On = "delta",
    side: Side = "left",
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> Similarity:
    """Compare two adapters of one base model.

    on: delta compares singular vectors of the updates (side: left, the outputs, or right, the
    inputs); A compares right singular vectors of lora_A, as the LoRA paper draws it.
    progress(share, words) is called between modules, and a set `stop` raises Stopped there.
    Raises EngineError when they share no module or a shared one has two shapes.
    """
    if on not in ("delta", "A") or side not in ("left", "right"):
        raise EngineError(
            tr(
                "Similarity on {on}, side {side}; allowed are delta or A, left or right.",
                on=f"{str(on)[:20]!r}",
                side=f"{str(side)[:20]!r}",
            ),
            tr("Choose one of these."),
        )
    monitor = WorkMonitor(progress, stop)
    first = _opened(path_a, monitor.part(0.0, 0.2))
    second = _opened(path_b, monitor.part(0.2, 0.4))
    ours = {module.name: module for module in first.modules}
    theirs = {module.name: module for module in second.modules}
    common = [name for name in ours if name in theirs]
    if not common:
        raise EngineError(
            tr(
                "The two adapters have no module in common: {name} ... and {name_2} ...",
                name=first.modules[0].name,
                name_2=second.modules[0].name,
            ),
            tr("Give two adapters of the same base model that adapt the same modules."),
        )
    comparing, modules = monitor.part(0.4, 1.0), []
    for number, name in enumerate(common):
        comparing.step(number / len(common), tr("comparing {module}", module=name))
        modules.append(_compare(ours[name], theirs[name], on, side))
    return Similarity(
        on=on,
        modules=tuple(modules),
        only_in_a=tuple(name for name in ours if name not in theirs),
        only_in_b=tuple(name for name in theirs if name not in ours),
        notes=_notes(first, second),
    )


def _opened(adapter: str | Path | Adapter, monitor: WorkMonitor) -> Adapter:
    return adapter if isinstance(adapter, Adapter) else read_adapter(adapter, monitor)


def subspace_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """phi(i, j) for all i, j from orthonormal columns (n, p) and (n, q), as (p, q)."""
    squared = np.square(first.T @ second)
    shared = squared.cumsum(axis=0).cumsum(axis=1)  # ||U1[:, :i]^T U2[:, :j]||_F^2
    i = np.arange(1, first.shape[1] + 1)[:, None]
    j = np.arange(1, second.shape[1] + 1)[None, :]
    return np.clip(shared / np.minimum(i, j), 0.0, 1.0)


def interference_between(a: Factors, b: Factors) -> tuple[float | None, Interference | None]:
    """The cosine of two updates of one weight, and how they meet there; None where one is zero."""
    of_a, of_b = factor_spectrum(a), factor_spectrum(b)
    cosine = _cosine(a, b, of_a, of_b)
    return cosine, _interference(a, b, of_a, of_b, cosine)


def _cosine(a: Factors, b: Factors, of_a: FactorSpectrum, of_b: FactorSpectrum) -> float | None:
    norms = [float(np.linalg.norm(one.singular_values)) for one in (of_a, of_b)]
    return float(np.clip(inner_product(a, b) / norms[0] / norms[1], -1, 1)) if all(norms) else None


def _compare(a: AdapterModule, b: AdapterModule, on: On, side: Side) -> ModuleSimilarity:
    if a.shape != b.shape:
        raise EngineError(
            tr(
                "{name} is {shape} in the first adapter and {shape_2} in the second.",
                name=a.name,
                shape=describe_shape(a.shape),
                shape_2=describe_shape(b.shape),
            ),
            tr("Give two adapters of the same base model."),
        )
    spectra = factor_spectrum(a.factors), factor_spectrum(b.factors)
    if on == "A":
        vectors = [_directions_of_a(module) for module in (a, b)]
    else:
        vectors = [getattr(s, side)[:, : s.rank] for s in spectra]
    norms = [float(np.linalg.norm(s.singular_values)) for s in spectra]
    cosine = _cosine(a.factors, b.factors, *spectra)
    difference = factor_values(stack([(a.factors, 1.0), (b.factors, -1.0)]))
    return ModuleSimilarity(
        name=a.name,
        phi=subspace_similarity(*vectors),
        dimension=vectors[0].shape[0],
        cosine=cosine,
        distance=float(np.linalg.norm(difference)),
        norm_a=norms[0],
        norm_b=norms[1],
        interference=_interference(a.factors, b.factors, *spectra, cosine),
    )


def _directions_of_a(module: AdapterModule) -> np.ndarray:
    """Right singular vectors of lora_A, (in_features, directions)."""
    _, values, right = np.linalg.svd(module.lora_A.astype(np.float64), full_matrices=False)
    return right[: numerical_rank(values, module.lora_A.shape, float(np.finfo(np.float32).eps))].T


def _interference(
    a: Factors, b: Factors, of_a: FactorSpectrum, of_b: FactorSpectrum, cosine: float | None
) -> Interference | None:
    if cosine is None:
        return None
    overlap_a = _overlap(a, of_a, of_b)
    overlap_b = _overlap(b, of_b, of_a)
    rows, columns = a.shape
    random_level = (of_b.rank / rows) * (of_b.rank / columns)
    notable = max(overlap_a, overlap_b) > max(NOTABLE_OVERLAP, 3 * random_level)
    verdict: Verdict
    if not notable:
        verdict = "apart"
    elif abs(cosine) < NOTABLE_OVERLAP:
        verdict = "mixed"
    else:
        verdict = "reinforce" if cosine > 0 else "oppose"
    return Interference(overlap_a, overlap_b, random_level, verdict)


def _overlap(update: Factors, own: FactorSpectrum, other: FactorSpectrum) -> float:
    """||U^T M V||_F^2 / ||M||_F^2 with the other update's directions U, V."""
    left = other.left[:, : other.rank].T @ update.left
    right = update.right @ other.right[:, : other.rank]
    total = float(np.square(own.singular_values).sum())
    return float(np.clip(np.square(left @ right).sum() / total, 0.0, 1.0))


def _notes(first: Adapter, second: Adapter) -> tuple[str, ...]:
    notes = [*first.notes, *second.notes]
    if any(adapter.config.use_dora for adapter in (first, second)):
        notes.append(tr("DoRA: compared by scaling * B A, without the magnitude."))
    return tuple(notes)
