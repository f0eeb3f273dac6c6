"""A matrix without its mean: for pictures, whose first direction is little but their brightness."""

from __future__ import annotations

import numpy as np

from lora_engine.language import tr
from lora_engine.weights.matrix import MatrixSource

BLOCK_ROWS = 1024


class WithoutMean:
    """Another matrix whose mean over all entries is subtracted from each, block by block."""

    def __init__(self, source: MatrixSource) -> None:
        self._source = source
        self._mean = _mean(source)

    @property
    def name(self) -> str:
        return tr("{name}, without its mean", name=self._source.name)

    @property
    def shape(self) -> tuple[int, int]:
        return self._source.shape

    @property
    def dtype(self) -> str:
        return self._source.dtype

    @property
    def notes(self) -> tuple[str, ...]:
        taken = tr("The mean of all entries, {mean}, was subtracted.", mean=f"{self._mean:.4g}")
        return (*self._source.notes, taken)

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self._source.rows(start, stop).astype(np.float64) - self._mean

    def columns(self, start: int, stop: int) -> np.ndarray:
        return self._source.columns(start, stop).astype(np.float64) - self._mean


def _mean(source: MatrixSource) -> float:
    rows, columns = source.shape
    blocks = (source.rows(at, min(at + BLOCK_ROWS, rows)) for at in range(0, rows, BLOCK_ROWS))
    return float(sum(block.sum(dtype=np.float64) for block in blocks)) / (rows * columns)
