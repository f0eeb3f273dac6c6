"""How much noise the storage of a matrix's numbers adds: the rounding of bfloat16, float16, 8 and
4 bit, as a standard deviation and as an edge that no singular value of such noise passes.

A number rounded to the nearest of a grid is off by an error that is spread evenly over one step u,
so with variance u^2 / 12. Float32 and finer are left out: their rounding is below what is counted
as rank anyway. This module knows nothing of what the matrix means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lora_engine.language import tr, translatable
from lora_engine.spectrum.dense import blocks
from lora_engine.spectrum.metrics import StorageNoise
from lora_engine.weights.matrix import MatrixSource
from lora_engine.weights.nf4 import PackedMatrix


@dataclass(frozen=True)
class FloatGrid:
    """A floating-point format: bits of its fraction, and the exponent of its smallest normals."""

    fraction_bits: int
    smallest_exponent: int

    def step(self, values: np.ndarray) -> np.ndarray:
        """The distance to the next number of the grid, at each value."""
        exponent = np.frexp(values)[1] - 1  # |value| = m 2^exponent with 1 <= m < 2; 0 has none
        exponent = np.where(values == 0, self.smallest_exponent, exponent)
        return np.ldexp(1.0, np.maximum(exponent, self.smallest_exponent) - self.fraction_bits)


GRIDS = {
    "bfloat16": FloatGrid(7, -126),
    "float16": FloatGrid(10, -14),
    "float8_e4m3": FloatGrid(3, -6),
    "float8_e5m2": FloatGrid(2, -14),
}


def quantization_noise(packed: PackedMatrix) -> StorageNoise:
    """What rounding to 4 bits left: its edge is Marchenko and Pastur's, s (sqrt(m) + sqrt(n))."""
    std = packed.noise_std()
    edge = std * sum(math.sqrt(side) for side in packed.shape)
    return StorageNoise(std, edge, translatable("known rounding error"))


def _rounding_to(dtypes: list[str]) -> str:
    if len(dtypes) == 1:
        return tr("rounding to {dtype}", dtype=dtypes[0])
    return tr("rounding to {first} and {others}", first=dtypes[0], others=", ".join(dtypes[1:]))


def rounding_noise(sources: Sequence[MatrixSource]) -> StorageNoise | None:
    """What rounding to half precision or 8 bits left in the sum or difference of these matrices.

    Entries have errors of different size, v_ij = u_ij^2 / 12 summed over the matrices. The edge is
    max_i sqrt(sum_j v_ij) + max_j sqrt(sum_i v_ij), the bound of Bandeira and van Handel (2016,
    Annals of Probability 44) to leading order; for equal errors it is s (sqrt(m) + sqrt(n)).
    None where none of the matrices is stored in such a format.
    """
    rounded = [(source, GRIDS[source.dtype]) for source in sources if source.dtype in GRIDS]
    if not rounded:
        return None
    rows, columns = rounded[0][0].shape
    of_rows, of_columns = np.zeros(rows), np.zeros(columns)
    for source, grid in rounded:
        for start, stop in blocks(rows, columns):
            variance = np.square(grid.step(source.rows(start, stop))) / 12
            of_rows[start:stop] += variance.sum(1)
            of_columns += variance.sum(0)
    return StorageNoise(
        std=math.sqrt(float(of_rows.sum()) / (rows * columns)),
        edge=math.sqrt(float(of_rows.max())) + math.sqrt(float(of_columns.max())),
        source=_rounding_to(sorted({source.dtype for source, _ in rounded})),
    )
