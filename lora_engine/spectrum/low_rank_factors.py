"""A low-rank matrix given by its factors, and its exact spectrum without forming it.

    M = left @ right,   left (m, r), right (r, n)

Thin QR of left and of right^T, SVD of the small core between them: O((m + n) r^2 + r^3) in
float64, where a dense SVD needs O(m n min(m, n)). Sums and differences stack: M1 + M2 =
[left1 | left2] @ [right1; right2].
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum import metrics
from lora_engine.spectrum.orthonormal import orthonormal, triangle

EPS64 = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Factors:
    """M = left @ right with left (m, r) and right (r, n), finite numbers of any float dtype."""

    left: np.ndarray
    right: np.ndarray

    def __post_init__(self) -> None:
        if self.left.ndim != 2 or self.right.ndim != 2 or self.left.shape[1] != self.right.shape[0]:
            raise EngineError(
                tr(
                    "Factors of {shape} and {shape_2} do not fit; needed are (m, r) and (r, n).",
                    shape=self.left.shape,
                    shape_2=self.right.shape,
                ),
                tr("Check that both belong to the same module."),
            )

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.shape[0], self.right.shape[1]

    def dense(self) -> np.ndarray:
        """M itself, (m, n) float64."""
        return self.left.astype(np.float64) @ self.right.astype(np.float64)

    def scaled(self, weight: float) -> Factors:
        return Factors(self.left.astype(np.float64) * weight, self.right)


@dataclass(frozen=True, eq=False)
class FactorSpectrum:
    """M = U diag(s) V^T: singular_values (p,), left U (m, p), right V (n, p), p = min(m, n, r)."""

    singular_values: np.ndarray
    left: np.ndarray
    right: np.ndarray

    @property
    def rank(self) -> int:
        """Directions that are more than float64 rounding."""
        shape = (self.left.shape[0], self.right.shape[0])
        return metrics.numerical_rank(self.singular_values, shape, EPS64)


def factor_values(factors: Factors) -> np.ndarray:
    """The singular values of M alone, (p,) float64, descending."""
    left = triangle(factors.left.astype(np.float64))
    right = triangle(factors.right.T.astype(np.float64))
    return np.linalg.svd(left @ right.T, compute_uv=False)


def factor_spectrum(factors: Factors) -> FactorSpectrum:
    """The exact SVD of M from its factors."""
    q_left, r_left = orthonormal(factors.left.astype(np.float64))
    q_right, r_right = orthonormal(factors.right.T.astype(np.float64))
    inner, values, outer = np.linalg.svd(r_left @ r_right.T, full_matrices=False)
    return FactorSpectrum(values, q_left @ inner, q_right @ outer.T)


def stack(parts: Iterable[tuple[Factors, float]]) -> Factors:
    """The weighted sum of low-rank matrices, as factors of rank r1 + r2 + ...

    Raises EngineError when their shapes differ.
    """
    scaled = [factors.scaled(weight) for factors, weight in parts]
    shapes = {factors.shape for factors in scaled}
    if len(shapes) != 1:
        raise EngineError(
            tr("Updates of different shapes cannot be added: {shapes}.", shapes=sorted(shapes)),
            tr("Take adapters of the same base model."),
        )
    left = np.concatenate([factors.left for factors in scaled], axis=1)
    return Factors(left, np.concatenate([factors.right for factors in scaled], axis=0))


def inner_product(a: Factors, b: Factors) -> float:
    """<M_a, M_b>_F = sum of (left_a^T left_b) * (right_a right_b^T), never forming either."""
    left = a.left.T.astype(np.float64) @ b.left.astype(np.float64)
    right = a.right.astype(np.float64) @ b.right.T.astype(np.float64)
    return float((left * right).sum())


def norm(factors: Factors) -> float:
    """||M||_F."""
    return math.sqrt(max(0.0, inner_product(factors, factors)))
