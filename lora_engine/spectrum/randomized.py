"""A randomized sketch of a matrix too large for the exact routes, with its certificate.

Halko, Martinsson and Tropp (SIAM Review 2011), algorithm 4.4: an orthonormal Q (rows, p) that
catches the range of W, then the SVD of Q^T W. Good on a few strong directions and badly wrong
on a flat bulk, hence never without bounds: with R = (I - Q Q^T) W,

    ||R||_F^2 = ||W||_F^2 - ||Q^T W||_F^2                       exactly
    sum s^2 <= sum sigma^2 <= sum s^2 + min(k ||R||_2^2, ||R||_F^2)   over the first k
"""

from __future__ import annotations

import math

import numpy as np

from lora_engine.language import tr
from lora_engine.spectrum.decomposition import Decomposition
from lora_engine.spectrum.dense import EPS64, blocks, stored_eps, widen
from lora_engine.spectrum.orthonormal import orthonormal
from lora_engine.spectrum.progress import SILENT, WorkMonitor
from lora_engine.weights.matrix import MatrixSource

OVERSAMPLING = 16
POWER_STEPS = 2
TEST_VECTORS = 10


def randomized_sketch(
    source: MatrixSource, wanted: int, seed: int = 0, monitor: WorkMonitor = SILENT
) -> Decomposition:
    """The first `wanted` directions and the bounds on all of them.

    Reads the matrix eight times in row blocks; holds (rows + columns) * (wanted + 16) numbers.
    """
    rows, columns = source.shape
    width = min(wanted + OVERSAMPLING, rows, columns)
    passes = 2 * POWER_STEPS + 5
    random = np.random.default_rng(seed)

    def part(number: int) -> WorkMonitor:
        return monitor.part(number / passes, (number + 1) / passes)

    sketch, total = _times(source, random.standard_normal((columns, width)), part(0))
    basis = orthonormal(sketch)[0]
    for step in range(POWER_STEPS):
        back = orthonormal(_transposed_times(source, basis, part(2 * step + 1)))[0]
        basis = orthonormal(_times(source, back, part(2 * step + 2))[0])[0]
    core = _transposed_times(source, basis, part(passes - 4))  # W^T Q, (columns, width)
    far, triangle = orthonormal(core)
    turned, singular_values, inner = np.linalg.svd(triangle, full_matrices=False)
    left_over = max(0.0, total - float(np.square(singular_values).sum()))
    spectral = _residual_bound(source, basis, random, [part(passes - 3 + i) for i in range(3)])
    kept = min(wanted, width)
    return Decomposition(
        shape=source.shape,
        singular_values=singular_values[:kept],
        left=basis @ inner[:kept].T,
        right=far @ turned[:, :kept],
        total_squared=total,
        method="randomized",
        eps=stored_eps(source.dtype),
        value_floor=EPS64 * max(source.shape) * float(singular_values[0]),
        residual_frobenius_squared=left_over,
        residual_spectral_squared=min(spectral**2, left_over),
        next_value=float(singular_values[kept]) if kept < singular_values.size else 0.0,
    )


def _residual_bound(
    source: MatrixSource, basis: np.ndarray, random: np.random.Generator, parts: list[WorkMonitor]
) -> float:
    """An upper bound of ||R||_2, R = (I - Q Q^T) W, that fails with probability below 1e-10.

    For any A and 10 Gaussian w: ||A||_2 <= 10 sqrt(2/pi) max ||A w|| except with probability
    1e-10 (Halko et al., lemma 4.1). Applied to A = R R^T R, whose norm is ||R||_2^3, the
    generous factor 8 shrinks to its cube root, 2.
    """

    def residual(values: np.ndarray) -> np.ndarray:
        return values - basis @ (basis.T @ values)

    tests = random.standard_normal((source.shape[1], TEST_VECTORS))
    once = residual(_times(source, tests, parts[0])[0])
    back = _transposed_times(source, residual(once), parts[1])
    thrice = residual(_times(source, back, parts[2])[0])
    largest = float(np.linalg.norm(thrice, axis=0).max())
    return (10 * math.sqrt(2 / math.pi) * largest) ** (1 / 3)


def _times(
    source: MatrixSource, right: np.ndarray, monitor: WorkMonitor
) -> tuple[np.ndarray, float]:
    """W @ right, (rows, p), and ||W||_F^2, in one pass over row blocks."""
    rows, columns = source.shape
    product = np.empty((rows, right.shape[1]))
    total = 0.0
    for start, stop in blocks(rows, columns):
        monitor.step(start / rows, tr("sketching the matrix in blocks"))
        block = widen(source, source.rows(start, stop))
        product[start:stop] = block @ right
        total += float(np.square(block).sum())
    return product, total


def _transposed_times(source: MatrixSource, left: np.ndarray, monitor: WorkMonitor) -> np.ndarray:
    """W^T @ left, (columns, p), in one pass over row blocks."""
    rows, columns = source.shape
    product = np.zeros((columns, left.shape[1]))
    for start, stop in blocks(rows, columns):
        monitor.step(start / rows, tr("sketching the matrix in blocks"))
        product += widen(source, source.rows(start, stop)).T @ left[start:stop]
    return product
