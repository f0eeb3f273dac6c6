"""An adapter with the updates of some modules taken out of it: what each of them carries.

A module's update is taken out by writing zeros for its B, so the rest stays exactly as trained.
Knows nothing of how losses are measured.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

WEIGHTS = "adapter_model.safetensors"
OTHER_FILES = ("adapter_config.json", "provenance.json")
PARTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def write_without(adapter: Path, folder: Path, is_out: Callable[[str], bool]) -> Path:
    """A copy of `adapter` in `folder`, without the update of every module that `is_out` names.

    Takes plain LoRA adapters of PEFT's form (`MODULE.lora_B.weight`).
    """
    from safetensors.numpy import load_file, save_file

    folder.mkdir(parents=True)
    tensors = load_file(adapter / WEIGHTS)
    for name, values in tensors.items():
        module, is_b, _ = name.partition(".lora_B.")
        if is_b and is_out(module):
            tensors[name] = values * 0
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    for name in OTHER_FILES:
        shutil.copy(adapter / name, folder / name)
    return folder


def trials(layers: int) -> Mapping[str, Callable[[str], bool]]:
    """What is left out in turn, by a name: one module, a kind in all layers, a layer, all but one
    kind. `layer.part`, `*.part`, `layer.*`, `only.part`."""
    found: dict[str, Callable[[str], bool]] = {}
    for part in PARTS:
        found[f"*.{part}"] = _is_part(part)
        found[f"only.{part}"] = _is_other_part(part)
    for layer in range(layers):
        found[f"{layer}.*"] = _is_in_layer(layer)
        for part in PARTS:
            found[f"{layer}.{part}"] = _is_module(layer, part)
    return found


def _is_part(part: str) -> Callable[[str], bool]:
    return lambda module: module.endswith(f".{part}")


def _is_other_part(part: str) -> Callable[[str], bool]:
    return lambda module: not module.endswith(f".{part}")


def _is_in_layer(layer: int) -> Callable[[str], bool]:
    return lambda module: f".layers.{layer}." in module


def _is_module(layer: int, part: str) -> Callable[[str], bool]:
    return lambda module: f".layers.{layer}." in module and module.endswith(f".{part}")
