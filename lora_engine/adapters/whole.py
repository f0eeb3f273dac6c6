"""Is an adapter whole and finite? Decided from its own two files, without a base model.

Headers say whether every module has all its factors, in shapes that fit the rank; then each number
is looked at once, block by block, where it lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_engine.adapters.config import WEIGHTS_FILE, AdapterConfig, read_applicable_config
from lora_engine.adapters.other_forms import folder_without
from lora_engine.adapters.weights_keys import AdapterKeys, check_shapes, factor_keys, read_keys
from lora_engine.base_models.finite_weights import count_non_finite
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.weights.safetensors_file import SafetensorsFile, scan


@dataclass(frozen=True)
class WholeAdapter:
    """An adapter with nothing missing. shapes: module to (out_features, in_features)."""

    path: Path
    config: AdapterConfig
    file: SafetensorsFile
    keys: AdapterKeys
    shapes: Mapping[str, tuple[int, int]]


def read_whole(path: Path, config: AdapterConfig | None = None) -> WholeAdapter:
    """The adapter in a folder, from its configuration and the header of its weights.

    Raises NotFound for a missing file; EngineError for a configuration that cannot be applied,
    incomplete keys, shapes that do not fit the rank, and convolutions.
    """
    config = config or read_applicable_config(path)
    if not (path / WEIGHTS_FILE).is_file():
        raise folder_without(WEIGHTS_FILE, path)
    file = scan(path / WEIGHTS_FILE)
    keys = read_keys(file, config)
    return WholeAdapter(path, config, file, keys, _shapes(file, keys, config))


def refuse_non_finite(file: SafetensorsFile) -> None:
    """Raises EngineError naming the first tensor that holds NaN or infinite values, and how many.

    The types are those that `read_keys` lets through.
    """
    for key, entry in file.tensors.items():
        if wrong := count_non_finite(file, entry):
            raise EngineError(
                tr(
                    "{path}: {key} holds {wrong} values that are NaN or infinite.",
                    path=file.path,
                    key=key,
                    wrong=f"{wrong:,}",
                ),
                tr("Use an earlier checkpoint of this run, or train with a lower learning rate."),
            )


def _shapes(
    file: SafetensorsFile, keys: AdapterKeys, config: AdapterConfig
) -> dict[str, tuple[int, int]]:
    ranks = config.ranks_of(keys.named(module) for module in keys.factors)
    shapes = {}
    for module, parts in keys.factors.items():
        lora_A, lora_B = (file.tensors[key] for key in factor_keys(parts))
        of_parameter = module in keys.parameters
        check_shapes(module, lora_A, lora_B, ranks[keys.named(module)], of_parameter)
        if len(lora_A.shape) > 2:
            raise EngineError(
                tr(
                    "{path}: {module} is a convolution (lora_A has the shape {shape}); "
                    "Compare applies adapters of linear layers and embeddings.",
                    path=file.path,
                    module=module,
                    shape=list(lora_A.shape),
                ),
                tr("Spectrum shows this adapter; to answer with it, merge it with PEFT first."),
            )
        shapes[module] = lora_B.shape[0], lora_A.shape[1]
    return shapes
