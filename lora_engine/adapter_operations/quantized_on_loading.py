"""A base that was quantized when it was loaded (QLoRA), as the weights that training saw.

The files hold 16 or 32 bits; a run with `quantization` trained on these rounded to 4 or 8 bits.
Here each weight is what its layer computes with: rounded, then widened again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lora_engine.adapter_operations.stored_weights import StoredWeights
from lora_engine.base_models.stored_names import ModelNames
from lora_engine.weights.matrix import ArrayMatrix, MatrixSource

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


def quantized_layers(model: PreTrainedModel) -> dict[str, nn.Module]:
    """The layers of bitsandbytes in a loaded model, by name."""
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Linear4bit | Linear8bitLt)
    }


class QuantizedOnLoading(StoredWeights):
    """The files' tensors, those of quantized layers dequantized. layers: by module name."""

    def __init__(self, folder: Path, names: ModelNames, layers: Mapping[str, nn.Module]) -> None:
        super().__init__(folder)
        stored = {names.stored_name(f"{name}.weight"): layer for name, layer in layers.items()}
        self._layers = {name: layer for name, layer in stored.items() if name is not None}

    def matrix(self, name: str) -> MatrixSource:
        if name not in self._layers:
            return super().matrix(name)
        return ArrayMatrix(_dequantized(self._layers[name]), name, "float32")

    def is_as_stored(self, name: str) -> bool:
        return name not in self._layers and super().is_as_stored(name)


def _dequantized(layer: nn.Module) -> np.ndarray:
    """(out_features, in_features) float32, as the layer multiplies with it."""
    from lora_engine.library_imports import import_peft

    import_peft()
    from peft.utils.integrations import dequantize_module_weight

    return dequantize_module_weight(layer).detach().float().cpu().numpy()
