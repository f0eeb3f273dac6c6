"""A float32 matrix reduced to a band by reflections from both sides.

    U^T W V = B + E

Nearly all of it are products of matrices: for each BAND columns, V1^T A and A V2 (BAND wide), and
A - [V1, X] [Y; V2^T]. oneDNN takes A V2 faster than MKL, which first copies A; but it wants A
without gaps between the rows. So A is moved together every WINDOW columns, in its own memory. All
sizes of one window are the same, because oneDNN generates code for every size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lora_engine.language import tr
from lora_engine.spectrum.progress import WorkMonitor

if TYPE_CHECKING:
    import torch

BAND = 32
WINDOW = 8 * BAND
ROWS_MOVED = 64
"""Rows of the matrix moved in one step when it is moved together."""


@dataclass(frozen=True, eq=False)
class Reflection:
    """I - V T V^T from row `start` on: V (rows - start, width) float32, T (width, width) float64.

    T^-1 + T^-T = V^T V, so it is orthogonal whatever the rounding of V.
    """

    start: int
    V: np.ndarray
    T: np.ndarray

    def apply(self, vectors: np.ndarray, transposed: bool) -> None:
        """Turn `vectors` (rows, p), float64, in place."""
        V, T = self.V.astype(np.float64), self.T.T if transposed else self.T
        _turn(vectors[self.start :], V, T)


@dataclass(frozen=True, eq=False)
class Reduced:
    """B (height, n): its rows from the diagonal on, (n, BAND + 1 or n) float64; the reflections of
    both sides."""

    height: int
    rows: np.ndarray
    left: list[Reflection]
    right: list[Reflection]

    def times(self, vectors: np.ndarray) -> np.ndarray:
        """B x for the columns x of `vectors` (n, p): (height, p)."""
        product = np.zeros((self.height, vectors.shape[1]))
        for apart, diagonal in enumerate(self.rows.T):
            n = len(diagonal) - apart
            product[:n] += diagonal[:n, None] * vectors[apart:]
        return product

    def transposed_times(self, vectors: np.ndarray) -> np.ndarray:
        """B^T x for the columns x of `vectors` (height, p): (n, p)."""
        product = np.zeros((len(self.rows), vectors.shape[1]))
        for apart, diagonal in enumerate(self.rows.T):
            n = len(diagonal) - apart
            product[apart:] += diagonal[:n, None] * vectors[:n]
        return product


def reduce_to_band(
    matrix: np.ndarray, left_vectors: np.ndarray, right_vectors: np.ndarray, monitor: WorkMonitor
) -> Reduced:
    """Reduce `matrix` (rows, n), float32, rows >= n, without gaps, which it overwrites.

    On the way U^T turns `left_vectors` (rows, p), and V^T `right_vectors` (n, p), in place.
    """
    import torch

    n = matrix.shape[1]
    window, first = torch.from_numpy(matrix), 0  # what is left of the matrix from `first` on
    rows = torch.zeros(n, 2 * BAND)
    left: list[Reflection] = []
    right: list[Reflection] = []
    for start in range(0, n, BAND):
        monitor.step(1 - (1 - start / n) ** 3, tr("reducing the matrix to a band"))
        if start - first == WINDOW:
            window, first = _moved_together(window, WINDOW), start
        at = start - first
        one, V, triangle = _reflection(window[at:, at : at + BAND], start, left_vectors)
        left.append(one)
        width = V.shape[1]
        _along_diagonal(rows[start:], 0, triangle)
        rest = window[at:, at + width :]
        if not rest.numel():
            break
        onto = _narrow(one.T.T) @ (V.T @ rest)
        other, across, triangle = _reflection(
            (rest[:width] - V[:width] @ onto).T, start + width, right_vectors
        )
        right.append(other)
        _along_diagonal(rows[start:], width, triangle.T)
        scaled = across @ _narrow(other.T)
        turned = _times(window, at + width, scaled)[at + width :]
        turned -= V[width:] @ (onto @ scaled)
        rest[width:].addmm_(
            torch.cat([V[width:], turned], 1), torch.cat([onto, across.T]), alpha=-1
        )
    return Reduced(len(matrix), rows[:, : min(BAND + 1, n)].double().numpy(), left, right)


def _reflection(
    panel: torch.Tensor, start: int, vectors: np.ndarray
) -> tuple[Reflection, torch.Tensor, torch.Tensor]:
    """The reflection that makes `panel` (rows, width) upper triangular, its V, the triangle.

    It turns `vectors` as it turns the panel.
    """
    import torch

    packed, scales = torch.geqrf(panel.contiguous())
    width = scales.numel()
    triangle = packed[:width].triu()
    V = packed[:, :width].contiguous()
    V[:width].tril_(-1)
    V.diagonal().copy_((scales != 0).float())  # nothing to reflect: a column of zeros
    wide = V.numpy().astype(np.float64)
    products = wide.T @ wide
    inverse = np.triu(products, 1)
    np.fill_diagonal(inverse, np.where(scales.numpy() != 0, products.diagonal() / 2, 1.0))
    identity = torch.eye(width, dtype=torch.float64)
    solved = torch.linalg.solve_triangular(torch.from_numpy(inverse), identity, upper=True)
    T: np.ndarray = solved.numpy()
    _turn(vectors[start:], wide, T.T)
    return Reflection(start, V.numpy(), T), V, triangle


def _turn(vectors: np.ndarray, V: np.ndarray, T: np.ndarray) -> None:
    """vectors -= V T V^T vectors, all in float64."""
    vectors -= V @ (T @ (V.T @ vectors))


def _narrow(T: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(T.astype(np.float32))


def _along_diagonal(rows: torch.Tensor, right: int, block: torch.Tensor) -> None:
    """Write a triangular `block` of B, `right` columns beside the diagonal, into B's rows.

    Row i begins at its own diagonal: entry (i, j) stands at column right + j - i. The zeros of the
    block come to stand beyond the band.
    """
    stride = rows.stride(0)
    rows.as_strided(block.shape, (stride - 1, 1), rows.storage_offset() + right).copy_(block)


def _times(window: torch.Tensor, start: int, vectors: torch.Tensor) -> torch.Tensor:
    """window[:, start:] @ vectors, (rows, width)."""
    import torch

    if not (
        torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    ):
        return window[:, start:] @ vectors
    padded = torch.zeros(vectors.shape[1], window.shape[1])
    padded[:, start:] = vectors.T
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(window, padded, None, "none", [], "")
    return product


def _moved_together(window: torch.Tensor, dropped: int) -> torch.Tensor:
    """`window` without its first rows and columns, in the same memory without gaps."""
    rows, columns = window.shape
    left = columns - dropped
    moved = window.as_strided((rows - dropped, left), (left, 1))
    for start in range(dropped, rows, ROWS_MOVED):
        stop = min(start + ROWS_MOVED, rows)
        moved[start - dropped : stop - dropped] = window[start:stop, dropped:].clone()
    return moved
