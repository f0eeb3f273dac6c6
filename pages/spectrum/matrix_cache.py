"""The matrices that are open on the page, decomposed, by an id that cannot be guessed.

A browser tab holds the id, not the matrix, and asks by id for what it needs again: an exact
window, a download. The cache is bounded: whoever holds the most loses the matrix that they used
longest ago. It does not know where a matrix came from.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass

from lora_engine.access import person_now
from lora_engine.errors import NotFound
from lora_engine.language import tr
from lora_engine.quotas import MEGABYTE, QuotaExceeded, megabytes
from lora_engine.spectrum import Decomposition, PooledFactors
from lora_engine.weights import ArrayMatrix, MatrixSource

MAX_BYTES = 1_000 * MEGABYTE
MAX_MATRICES = 32


@dataclass(frozen=True, eq=False)
class OpenMatrix:
    """One matrix with its decomposition, and what the browser draws of it.

    owner: the name of the person who opened it.
    """

    id: str
    source: MatrixSource
    decomposition: Decomposition
    pooled: PooledFactors
    owner: str

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
        """Keep a matrix. Raises QuotaExceeded for one that is too large by itself."""
        matrix_id, owner = secrets.token_urlsafe(16), person_now().name
        matrix = OpenMatrix(matrix_id, source, decomposition, pooled, owner)
        if matrix.bytes > self._max_bytes:
            raise QuotaExceeded(
                tr(
                    "This matrix takes {size} of memory with its decomposition; {most} are "
                    "allowed for all open matrices together.",
                    size=megabytes(matrix.bytes),
                    most=megabytes(self._max_bytes),
                ),
                tr("Open a smaller one, or raise LORA_MAX_MATRICES_MB."),
            )
        with self._lock:
            self._open[matrix.id] = matrix
            while self._is_full():
                self._drop_one(matrix)
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

    @property
    def bytes(self) -> int:
        """What the open matrices take in memory."""
        with self._lock:
            return self._held()

    @property
    def max_bytes(self) -> int:
        return self._max_bytes

    def _held(self) -> int:
        return sum(matrix.bytes for matrix in self._open.values())

    def _is_full(self) -> bool:
        return self._held() > self._max_bytes or len(self._open) > self._max_matrices

    def _drop_one(self, newest: OpenMatrix) -> None:
        """Drop what was used longest ago, of whoever holds the most; never the newest."""
        held: Counter[str] = Counter()
        for matrix in self._open.values():
            held[matrix.owner] += matrix.bytes
        others = [matrix for matrix in self._open.values() if matrix is not newest]
        dropped = max(others, key=lambda matrix: held[matrix.owner])  # the first of the largest
        del self._open[dropped.id]
