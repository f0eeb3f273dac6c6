"""Singular values alone, in float32 where it is quick and in float64 where it counts.

    U^T W V = B + E,   B upper with BAND diagonals beside the first

W is reduced by reflections of BAND columns and rows at a time, in float32: nearly all of it are
products of matrices. The values of B come from B B^T in float64. U and V are taken to be exactly
orthogonal: they are what the float32 reflectors make with float64 scales. So everything that
float32 lost is in E, and by Weyl no value of W is further than ||E||_2 from one of B. W is read
again to bound ||E||_2, with ten random vectors as in `randomized.py`: a bound found afterwards for
this matrix, not one that any matrix could reach.

At 4096 this takes three quarters of the Gram route's time or less. It gives no vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lora_engine.language import tr
from lora_engine.spectrum.decomposition import Decomposition
from lora_engine.spectrum.dense import EPS64, blocks, gram_floor, stored_eps, widen
from lora_engine.spectrum.progress import SILENT, WorkMonitor
from lora_engine.weights.matrix import MatrixSource, Transposed

if TYPE_CHECKING:
    import torch

BAND = 32
LONGEST = 2
"""Longer side over shorter one, up to which this is quicker than the Gram route."""

TEST_VECTORS = 10


@dataclass(frozen=True, eq=False)
class Reflection:
    """I - V T V^T from row `start` on: V (rows - start, width) float32, T (width, width) float64.

    T^-1 + T^-T = V^T V, so it is orthogonal whatever the rounding of V.
    """

    start: int
    V: torch.Tensor
    T: torch.Tensor

    def apply(self, vectors: torch.Tensor, transposed: bool) -> None:
        """Turn `vectors` (rows, p), float64, in place."""
        V, T = self.V.double(), self.T.T if transposed else self.T
        vectors[self.start :] -= V @ (T @ (V.T @ vectors[self.start :]))


@dataclass(frozen=True, eq=False)
class Reduced:
    """B's rows from the diagonal on, (n, BAND + 1 or n) float64; the reflections of both sides."""

    rows: torch.Tensor
    left: list[Reflection]
    right: list[Reflection]


def band_route(source: MatrixSource, monitor: WorkMonitor = SILENT) -> Decomposition | None:
    """All singular values of a float32 matrix; None where the Gram route serves better: of a long
    matrix, of numbers in float64, of nothing but zeros.

    Memory: the matrix twice in float32, and one block.
    """
    if stored_eps(source.dtype) == EPS64 or max(source.shape) > LONGEST * min(source.shape):
        return None
    tall = source if source.shape[0] >= source.shape[1] else Transposed(source)
    matrix, scale, total = _whole(tall, monitor.part(0.0, 0.1))
    if not scale:
        return None
    reduced = _reduce(matrix, monitor.part(0.1, 0.7))
    del matrix
    monitor.step(0.7, tr("singular values of the band"))
    values = _values_of_band(reduced.rows.numpy()) * scale
    lost = _bound_of_loss(tall, reduced, scale, monitor.part(0.85, 1.0)) * scale
    monitor.step(1.0, tr("done"))
    return Decomposition(
        shape=source.shape,
        singular_values=values,
        left=np.empty((source.shape[0], 0)),
        right=np.empty((source.shape[1], 0)),
        total_squared=total,
        method="band",
        eps=stored_eps(source.dtype),
        value_floor=gram_floor(source.shape) * float(values[0]) + lost,
        value_shift=lost,
    )


def _whole(tall: MatrixSource, monitor: WorkMonitor) -> tuple[torch.Tensor, float, float]:
    """The matrix in float32 divided by a power of two, that power, and ||W||_F^2."""
    import torch

    rows, columns = tall.shape
    matrix, total = np.empty((rows, columns), np.float32), 0.0
    for start, stop in blocks(rows, columns):
        monitor.step(start / rows, tr("reading the matrix in blocks"))
        block = widen(tall, tall.rows(start, stop))
        total += float(np.square(block).sum())
        matrix[start:stop] = block
    largest = float(np.abs(matrix).max(initial=0.0))
    scale = 2.0 ** math.floor(math.log2(largest)) if largest else 0.0
    if scale:
        matrix /= np.float32(scale)
    return torch.from_numpy(matrix), scale, total


def _reduce(matrix: torch.Tensor, monitor: WorkMonitor) -> Reduced:
    """Reduce `matrix` (rows, n), rows >= n, which it overwrites, to a band.

    Both sides of a panel go into one product: A - [V1, X] [Y; V2^T].
    """
    import torch

    n = matrix.shape[1]
    rows = torch.zeros(n, 2 * BAND)
    left: list[Reflection] = []
    right: list[Reflection] = []
    for start in range(0, n, BAND):
        monitor.step(1 - (1 - start / n) ** 3, tr("reducing the matrix to a band"))
        one, triangle = _reflection(matrix[start:, start : start + BAND], start)
        left.append(one)
        width = one.V.shape[1]
        for i in range(width):
            rows[start + i, : width - i] = triangle[i, i:]
        rest = matrix[start:, start + width :]
        if not rest.numel():
            break
        onto = one.T.T.float() @ (one.V.T @ rest)
        other, triangle = _reflection((rest[:width] - one.V[:width] @ onto).T, start + width)
        right.append(other)
        for i in range(width):
            line = triangle.T[i, : i + 1]
            rows[start + i, width - i : width - i + len(line)] = line
        scaled = other.V @ other.T.float()
        across = rest[width:] @ scaled - one.V[width:] @ (onto @ scaled)
        rest[width:].addmm_(
            torch.cat([one.V[width:], across], 1), torch.cat([onto, other.V.T]), alpha=-1
        )
    return Reduced(rows[:, : min(BAND + 1, n)].double(), left, right)


def _reflection(panel: torch.Tensor, start: int) -> tuple[Reflection, torch.Tensor]:
    """The reflection that makes `panel` (rows, width) upper triangular, and the triangle."""
    import torch

    packed, scales = torch.geqrf(panel.contiguous())
    width = scales.numel()
    V = packed.tril(-1)[:, :width]
    V.diagonal().copy_((scales != 0).float())  # nothing to reflect: a column of zeros
    products = V.T.double() @ V.double()
    inverse = products.triu(1)
    inverse.diagonal().copy_(torch.where(scales != 0, products.diagonal() / 2, 1.0))
    identity = torch.eye(width, dtype=torch.float64)
    T = torch.linalg.solve_triangular(inverse, identity, upper=True)
    return Reflection(start, V.contiguous(), T), packed.triu()[:width]


def _values_of_band(rows: np.ndarray) -> np.ndarray:
    """Singular values of B, descending, from the band B B^T."""
    from scipy.linalg import eig_banded

    n = len(rows)
    product = np.zeros((rows.shape[1], n))
    for apart in range(rows.shape[1]):
        pairs = rows[apart:, : rows.shape[1] - apart] * rows[: n - apart, apart:]
        product[apart, : n - apart] = pairs.sum(axis=1)
    squares = eig_banded(product, lower=True, eigvals_only=True, overwrite_a_band=True)[::-1]
    return np.sqrt(np.maximum(squares, 0.0))


def _bound_of_loss(
    tall: MatrixSource, reduced: Reduced, scale: float, monitor: WorkMonitor
) -> float:
    """An upper bound of ||E||_2, E = U^T W V - B, that fails with probability below 1e-10.

    For 10 Gaussian w, ||A||_2 <= 10 sqrt(2/pi) max ||A w|| except with probability 1e-10 (Halko,
    Martinsson and Tropp, lemma 4.1). With A = E E^T E the factor 8 shrinks to its cube root.
    """
    import torch

    n = tall.shape[1]
    random = np.random.default_rng(0)
    tests = torch.from_numpy(random.standard_normal((n, TEST_VECTORS)))
    through = _Loss(tall, reduced, scale)
    once = through.times(tests, monitor.part(0.0, 0.33))
    back = through.transposed_times(once, monitor.part(0.33, 0.67))
    size = float(back.norm()) or 1.0  # E is small: its cube would leave the range
    thrice = through.times(back / size, monitor.part(0.67, 1.0))
    largest = float(thrice.norm(dim=0).max()) * size
    return float((10 * math.sqrt(2 / math.pi) * largest) ** (1 / 3))


@dataclass(frozen=True, eq=False)
class _Loss:
    """E = U^T W V - B as something to multiply with; W is read in blocks."""

    tall: MatrixSource
    reduced: Reduced
    scale: float

    def times(self, vectors: torch.Tensor, monitor: WorkMonitor) -> torch.Tensor:
        """E x for the columns x of `vectors` (n, p): (rows, p)."""
        import torch

        turned = vectors.clone()
        for one in reversed(self.reduced.right):
            one.apply(turned, transposed=False)
        product = torch.empty(self.tall.shape[0], vectors.shape[1], dtype=torch.float64)

        def take(start: int, stop: int, block: torch.Tensor) -> None:
            product[start:stop] = block @ turned

        self._each_block(take, monitor)
        for one in self.reduced.left:
            one.apply(product, transposed=True)
        for apart, diagonal in enumerate(self.reduced.rows.T):
            n = len(diagonal) - apart
            product[:n] -= diagonal[:n, None] * vectors[apart:]
        return product

    def transposed_times(self, vectors: torch.Tensor, monitor: WorkMonitor) -> torch.Tensor:
        """E^T x for the columns x of `vectors` (rows, p): (n, p)."""
        import torch

        turned = vectors.clone()
        for one in reversed(self.reduced.left):
            one.apply(turned, transposed=False)
        product = torch.zeros(self.tall.shape[1], vectors.shape[1], dtype=torch.float64)

        def take(start: int, stop: int, block: torch.Tensor) -> None:
            product.addmm_(block.T, turned[start:stop])

        self._each_block(take, monitor)
        for one in self.reduced.right:
            one.apply(product, transposed=True)
        for apart, diagonal in enumerate(self.reduced.rows.T):
            n = len(diagonal) - apart
            product[apart:] -= diagonal[:n, None] * vectors[:n]
        return product

    def _each_block(
        self, take: Callable[[int, int, torch.Tensor], None], monitor: WorkMonitor
    ) -> None:
        import torch

        rows, columns = self.tall.shape
        for start, stop in blocks(rows, columns):
            monitor.step(start / rows, tr("bounding what rounding lost"))
            block = widen(self.tall, self.tall.rows(start, stop)) / self.scale
            take(start, stop, torch.from_numpy(block))
