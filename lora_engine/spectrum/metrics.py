"""What singular values say: energy, errors, ranks, and where noise ends.

Everything takes singular values in descending order, float64. `total_squared` is the squared
Frobenius norm, which is known exactly even when only the first values are. Formulas and
sources: docs and NUMERICS; each is repeated where it is computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lora_engine.language import translatable

MEDIAN_VALUE = translatable("median singular value")
SMALLEST_SIDE_FOR_NOISE = 16
"""Below this, the laws for large random matrices say nothing."""


def energy_curve(singular_values: np.ndarray, total_squared: float | None = None) -> np.ndarray:
    """energy(k) = sum of the first k squared values over ||W||_F^2, for k = 1..n (Eckart-Young).

    Rises to 1 (below 1 where only the first values are known); all 1 for a zero matrix.
    """
    squared = np.cumsum(np.square(singular_values))
    total = float(squared[-1]) if total_squared is None and squared.size else total_squared
    if not total:
        return np.ones_like(singular_values)
    return np.minimum(squared / total, 1.0)


def rank_for_energy(
    singular_values: np.ndarray, share: float, total_squared: float | None = None
) -> int | None:
    """The smallest k with energy(k) >= share; 0 for a zero matrix, None when the known values
    do not reach it."""
    if not np.any(singular_values):
        return 0
    curve = energy_curve(singular_values, total_squared)
    # A share of exactly 1 must not be missed by the last rounding of the sum.
    k = int(np.searchsorted(curve, share * (1 - 1e-12))) + 1
    return k if k <= singular_values.size else None


def truncation_errors(
    singular_values: np.ndarray, total_squared: float | None = None
) -> np.ndarray:
    """||W - W_k||_F = sqrt(sum of squared values after k) for k = 0..n, (n + 1,).

    Summed from the small end, so that a small tail is not lost beside a large head.
    """
    squared = np.square(singular_values)
    unseen = 0.0
    if total_squared is not None:
        unseen = max(0.0, total_squared - float(squared.sum()))
    tail = np.concatenate([np.cumsum(squared[::-1])[::-1], [0.0]])
    return np.sqrt(tail + unseen)


def numerical_rank(
    singular_values: np.ndarray, shape: tuple[int, int], eps: float, floor: float = 0.0
) -> int:
    """How many values exceed sigma_1 * max(m, n) * eps (numpy.linalg.matrix_rank).

    eps: of the numbers as they were stored. floor: below it this route resolves no value.
    """
    if not singular_values.size:
        return 0
    tolerance = max(float(singular_values[0]) * max(shape) * eps, floor)
    return int(np.count_nonzero(singular_values > tolerance))


def stable_rank(singular_values: np.ndarray, total_squared: float | None = None) -> float:
    """||W||_F^2 / sigma_1^2; 0 for a zero matrix."""
    if not np.any(singular_values):
        return 0.0
    total = float(np.square(singular_values).sum()) if total_squared is None else total_squared
    return total / float(singular_values[0]) ** 2


def effective_rank(singular_values: np.ndarray) -> float:
    """exp(-sum p ln p) with p = sigma / sum sigma (Roy and Vetterli 2007); 0 for a zero matrix.

    Some tools take p = sigma^2 / sum sigma^2, which is another number.
    """
    positive = singular_values[singular_values > 0]
    if not positive.size:
        return 0.0
    p = positive / positive.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


@lru_cache(maxsize=256)
def marchenko_pastur_median(beta: float) -> float:
    """The median of the Marchenko-Pastur law for aspect ratio beta = min/max of the sides.

    The law: density sqrt((b - x)(x - a)) / (2 pi beta x) on [a, b] = (1 -+ sqrt(beta))^2.
    With x = centre - half * cos(t) the integrand is smooth, so the midpoint rule is exact to
    about 1e-10 with 20,000 points.
    """
    low, high = (1 - math.sqrt(beta)) ** 2, (1 + math.sqrt(beta)) ** 2
    count = 20_000
    t = (np.arange(count) + 0.5) * math.pi / count
    half = (high - low) / 2
    x = (low + high) / 2 - half * np.cos(t)
    weight = half**2 * np.sin(t) ** 2 / (2 * math.pi * beta * x) * math.pi / count
    edges = (low + high) / 2 - half * np.cos(np.arange(1, count + 1) * math.pi / count)
    return float(np.interp(0.5, np.cumsum(weight), edges))


def hard_threshold_known(beta: float) -> float:
    """lambda(beta): keep values above lambda * sqrt(n) * s, noise s known (arXiv 1305.5870)."""
    root = math.sqrt(beta**2 + 14 * beta + 1)
    return math.sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + root))


def hard_threshold_unknown(beta: float) -> float:
    """omega(beta): keep values above omega * median value, noise unknown; omega(1) = 2.85836."""
    return hard_threshold_known(beta) / math.sqrt(marchenko_pastur_median(beta))


@dataclass(frozen=True)
class StorageNoise:
    """The rounding error of a matrix's numbers as they are stored.

    std: of one entry. edge: a matrix of such errors has no singular value above it. source: what
    rounded, in words.
    """

    std: float
    edge: float
    source: str


@dataclass(frozen=True)
class NoiseView:
    """Where noise ends in a spectrum, were the matrix a few directions plus noise.

    noise_std: s, of one entry. edge: s (sqrt(m) + sqrt(n)), Marchenko-Pastur: pure noise has no
    value above it; for entries of different s the bound of `rounding_noise`. threshold:
    Gavish-Donoho, the cut that loses least.
    """

    noise_std: float
    edge: float
    above_edge: int
    threshold: float
    above_threshold: int
    source: str


def noise_view(
    singular_values: np.ndarray,
    shape: tuple[int, int],
    rank: int,
    stored: StorageNoise | None = None,
) -> NoiseView | None:
    """The noise view of a full spectrum, or None where it means nothing.

    It means nothing for a small matrix, where only some values are known, and where the
    median value is zero (a product BA of low rank). stored: the noise, where it is known.
    """
    small, large = min(shape), max(shape)
    complete = singular_values.size == small and rank > (small + 1) // 2
    if small < SMALLEST_SIDE_FOR_NOISE or (stored is None and not complete):
        return None
    beta = small / large
    if stored is None:
        median = float(np.median(singular_values))
        std = median / math.sqrt(large * marchenko_pastur_median(beta))
        edge = std * (math.sqrt(small) + math.sqrt(large))
        threshold, source = hard_threshold_unknown(beta) * median, MEDIAN_VALUE
    else:
        std, edge, source = stored.std, stored.edge, stored.source
        threshold = hard_threshold_known(beta) * math.sqrt(large) * std
    return NoiseView(
        noise_std=std,
        edge=edge,
        above_edge=int(np.count_nonzero(singular_values > edge)),
        threshold=threshold,
        above_threshold=int(np.count_nonzero(singular_values > threshold)),
        source=source,
    )
