"""The matrices that are open on the page, decomposed, by an id that cannot be guessed.

A browser tab holds the id, not the matrix, and asks by id for what it needs again: an exact
window, a download. The cache is bounded; the least recently used matrix goes first. It does not
know where a matrix came from.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass

from lora_engine.errors import NotFound
from lora_engine.language import tr
from lora_engine.spectrum import Decomposition, PooledFactors
from lora_engine.weights import ArrayMatrix, MatrixSource

MAX_BYTES = 512 * 2**20
MAX_MATRICES = 32


@dataclass(frozen=True, eq=False)
class OpenMatrix:
    """One matrix with its decomposition, and what the browser draws of it."""

    id: str
    source: MatrixSource
    decomposition: Decomposition
    pooled: PooledFactors

    @property
    def bytes(self) -> int:
        """What it takes in memory; a matrix that stays in its file takes nothing."""
        found, pooled = self.decomposition, self.pooled
        arrays = [found.left, found.right, pooled.left, pooled.right]
        if isinstance(self.source, ArrayMatrix):
            arrays.append(self.source.values)
        return sum(array.nbytes for array in arrays)


class MatrixCache:
    """The open matrices of all tabs, at most `max_bytes` and `max_matrices` of them."""

    def __init__(self, max_bytes: int = MAX_BYTES, max_matrices: int = MAX_MATRICES) -> None:
        self._open: OrderedDict[str, OpenMatrix] = OrderedDict()
        self._lock = threading.Lock()
        self._max_bytes = max_bytes
        self._max_matrices = max_matrices

    def put(
        self, source: MatrixSource, decomposition: Decomposition, pooled: PooledFactors
    ) -> OpenMatrix:
        """Keep a matrix; this one stays, however large it is."""
        matrix = OpenMatrix(secrets.token_urlsafe(16), source, decomposition, pooled)
        with self._lock:
            self._open[matrix.id] = matrix
            while len(self._open) > 1 and self._is_full():
                self._open.popitem(last=False)
        return matrix

    def get(self, matrix_id: str) -> OpenMatrix:
        """The matrix of this id. Raises NotFound where it never was here, or has been dropped."""
        with self._lock:
            if matrix_id in self._open:
                self._open.move_to_end(matrix_id)
                return self._open[matrix_id]
        raise NotFound(
            tr(
                "This matrix is no longer in the server's memory: others were opened since, or the "
                "server was started anew."
            ),
            tr("Open it again: choose it, type it or upload it."),
        )

    def _is_full(self) -> bool:
        held = sum(matrix.bytes for matrix in self._open.values())
        return held > self._max_bytes or len(self._open) > self._max_matrices
