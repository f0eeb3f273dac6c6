"""An adapter's update of one module as a matrix, taken apart exactly from its factors.

It is never formed whole. For DoRA this is scaling * B A alone; `base_delta.py` has its true update.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum.adapter_factors import AdapterModule
from lora_engine.spectrum.decomposition import Decomposition
from lora_engine.spectrum.dense import EPS64
from lora_engine.spectrum.low_rank_factors import Factors, factor_spectrum


@dataclass(frozen=True, eq=False)
class FactorMatrix:
    """left @ right as a matrix source: blocks are multiplied when they are asked for."""

    name: str
    factors: Factors
    dtype: str = "float32"
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        return self.factors.shape

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self.factors.left[start:stop].astype(np.float64) @ self.factors.right

    def columns(self, start: int, stop: int) -> np.ndarray:
        return self.factors.left.astype(np.float64) @ self.factors.right[:, start:stop]


def update_matrix(adapter_name: str, module: AdapterModule) -> FactorMatrix:
    """scaling * B A of a module. For DoRA without its magnitude, and it says so."""
    notes: tuple[str, ...] = ()
    if module.magnitude is not None:
        notes = (tr("DoRA: this is scaling * B A, without the magnitude."),)
    name = tr("ΔW of {module} in {adapter}", module=module.name, adapter=adapter_name)
    return FactorMatrix(name, module.factors, notes=notes)


def decompose_factors(matrix: FactorMatrix) -> Decomposition:
    """Its singular values and vectors, from the factors. Raises EngineError for a zero update."""
    spectrum = factor_spectrum(matrix.factors)
    if spectrum.rank == 0:
        raise EngineError(
            tr("{name} is zero: nothing was learned there.", name=matrix.name),
            tr("Choose another module."),
        )
    values = spectrum.singular_values
    return Decomposition(
        shape=matrix.shape,
        singular_values=values,
        left=spectrum.left,
        right=spectrum.right,
        total_squared=float(np.square(values).sum()),
        method="factors",
        eps=float(np.finfo(np.float32).eps),
        value_floor=EPS64 * max(matrix.shape) * float(values[0]),
    )
