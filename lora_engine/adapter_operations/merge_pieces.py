"""Weights that a model keeps fused and its files hold in pieces: an update, cut into the pieces.

An update of one layer's experts is computed when its first piece is asked for, and those of a few
layers stay in memory. Knows nothing of which pieces an adapter changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np

from lora_engine.adapter_operations.stored_weights import matrix_shape, stored_rows
from lora_engine.base_models.stored_names import ModelNames
from lora_engine.spectrum import AdapterModule
from lora_engine.weights.safetensors_file import SafetensorsFile

FUSED_HELD = 2  # updates of fused experts in memory: gate_up_proj and down_proj of one layer


class FusedPieces:
    """The pieces of one fused weight, computed when the first is asked for."""

    def __init__(self, names: ModelNames, parameter: str, values: Callable[[], np.ndarray]) -> None:
        self._names = names
        self._parameter = parameter
        self._values = values

    def rows(self, stored: str) -> np.ndarray:
        piece = _computed(self)[stored]
        return piece.reshape(matrix_shape(piece.shape))

    def compute(self) -> dict[str, np.ndarray]:
        import torch

        values = torch.from_numpy(self._values())
        if not self._names.is_converted(self._parameter):
            stored = self._names.stored_name(self._parameter)
            assert stored is not None
            return {stored: values.numpy()}
        found = self._names.in_pieces(self._parameter, values)
        return {stored: piece.contiguous().numpy() for stored, piece in found.items()}


@lru_cache(maxsize=FUSED_HELD)
def _computed(pieces: FusedPieces) -> Mapping[str, np.ndarray]:
    return pieces.compute()


def fused_update(modules: list[AdapterModule], swapped: bool, shape: tuple[int, ...]) -> np.ndarray:
    """The update of a weight in pieces, (experts, ., .) or (., .) as in memory, float32."""
    found = np.empty((len(modules), *shape[-2:]), np.float32)
    for place, module in zip(found, modules, strict=True):
        dense = module.factors.dense()
        place[:] = dense.T if swapped else dense
    return found.reshape(shape)


def whole_values(file: SafetensorsFile, key: str) -> np.ndarray:
    """A tensor of an adapter's file in its own shape, float32."""
    rows = stored_rows(file, key)
    values = rows.rows(0, rows.shape[0]).astype(np.float32)
    return values.reshape(file.entry(key).shape)
