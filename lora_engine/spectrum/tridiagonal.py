"""The first eigenvectors and all eigenvalues of a large symmetric matrix, in that matrix's memory.

    G = Q T Q^T,   T tridiagonal; its values by QL, its first vectors by relatively robust
    representations (LAPACK's dstemr), turned back by Q

This is LAPACK's dsyevr, taken apart: it may be stopped between panels of columns, gives all the
values beside a few vectors, and needs G and n * count numbers, where eigenvectors of everything
take four times G.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lora_engine.language import tr
from lora_engine.spectrum.lapack import call
from lora_engine.spectrum.progress import SILENT, WorkMonitor

PANEL = 64
"""Columns reduced between two looks at whether to stop."""


@dataclass(frozen=True, eq=False)
class Tridiagonal:
    """G = Q T Q^T. diagonal (n,) and off_diagonal (n - 1,) of T; reflectors (n, n, column order)
    and scales (n - 1,) are Q as LAPACK holds it."""

    diagonal: np.ndarray
    off_diagonal: np.ndarray
    reflectors: np.ndarray
    scales: np.ndarray

    def values(self) -> np.ndarray:
        """All eigenvalues, descending."""
        from scipy.linalg import eigh_tridiagonal

        found = eigh_tridiagonal(
            self.diagonal, self.off_diagonal, eigvals_only=True, lapack_driver="sterf"
        )
        return np.asarray(found)[::-1].copy()

    def vectors(self, count: int) -> np.ndarray:
        """Eigenvectors of the `count` largest eigenvalues as columns (n, count), descending."""
        n = self.diagonal.size
        if not count:
            return np.empty((n, 0))
        vectors = _vectors_of_tridiagonal(self.diagonal, self.off_diagonal, count)
        work = np.empty(64 * (count + 65))
        call("dormtr", b"L", b"L", b"N", n, count, self.reflectors, n, self.scales, vectors, n,
             work, work.size, np.zeros(1, np.int32))  # fmt: skip
        return vectors[:, ::-1]


def tridiagonalize(gram: np.ndarray, monitor: WorkMonitor = SILENT) -> Tridiagonal:
    """Householder's reduction of `gram` (n, n), which it overwrites; its upper triangle is read.

    Panel by panel as LAPACK's dsytrd does: half of the work are products of matrices.
    """
    n = len(gram)
    matrix = gram.T  # in column order, as LAPACK reads it: its lower triangle
    off_diagonal, scales = np.zeros(n - 1), np.zeros(n - 1)
    for start in range(0, n - PANEL, PANEL):
        share = 1 - ((n - start) / n) ** 3
        monitor.step(share, tr("eigenvalues of {side} x {side}", side=f"{n:,}"))
        rest, after = n - start, start + PANEL
        panel = np.empty((rest, PANEL), order="F")
        call("dlatrd", b"L", rest, PANEL, matrix[start:, start:], n, off_diagonal[start:],
             scales[start:], panel, rest)  # fmt: skip
        call("dsyr2k", b"L", b"N", n - after, PANEL, -1.0, matrix[after:, start:], n,
             panel[PANEL:], rest, 1.0, matrix[after:, after:], n)  # fmt: skip
    last = (n - 1) // PANEL * PANEL
    call("dsytd2", b"L", n - last, matrix[last:, last:], n, np.empty(n - last),
         off_diagonal[last:], scales[last:], np.zeros(1, np.int32))  # fmt: skip
    return Tridiagonal(matrix.diagonal().copy(), off_diagonal, matrix, scales)


def _vectors_of_tridiagonal(diagonal: np.ndarray, off: np.ndarray, count: int) -> np.ndarray:
    """Vectors of the `count` largest values, ascending, (n, count) in column order."""
    n = diagonal.size
    vectors, values = np.empty((n, count), order="F"), np.empty(n)
    found, failed = np.zeros(1, np.int32), np.zeros(1, np.int32)
    work, places = np.empty(18 * n), np.empty(10 * n, np.int32)
    call("dstemr", b"V", b"I", n, diagonal.copy(), np.append(off, 0.0), 0.0, 0.0, n - count + 1, n,
         found, values, vectors, n, count, np.empty(2 * count, np.int32), np.ones(1, np.int32),
         work, work.size, places, places.size, failed)  # fmt: skip
    if not failed[0]:
        return vectors
    from scipy.linalg import eigh_tridiagonal

    chosen = (n - count, n - 1)  # as dsyevr does: inverse iteration where dstemr gives up
    _, other = eigh_tridiagonal(
        diagonal, off, select="i", select_range=chosen, lapack_driver="stebz"
    )
    return np.asfortranarray(other)
