"""Names, shapes and formats of a base model's weights, from its safetensors files' headers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lora_engine.base_models.find import BaseModel
from lora_engine.base_models.load_report import COMPUTED
from lora_engine.base_models.weight_files import weight_files
from lora_engine.weights import nf4
from lora_engine.weights.packed_tensors import packing_method
from lora_engine.weights.safetensors_file import SafetensorsFile


def weight_module_names(model: BaseModel) -> list[str]:
    """Names of the modules that hold a two-dimensional weight, from the safetensors headers.

    Reads no weight. Empty for a hub id, whose files are not here yet. Raises EngineError for files
    that are missing or not sound.
    """
    return list(_two_dimensional(model))


def weight_shapes(model: BaseModel) -> dict[str, tuple[int, int]]:
    """Module to the shape (out, in) of its two-dimensional weight, that of a packed weight too.

    Left out are weights whose packing does not tell their shape. Empty for a hub id.
    """
    return {name: shape for name, shape in _two_dimensional(model).items() if shape is not None}


def weight_numbers(model: BaseModel) -> int:
    """How many numbers the files of a local model hold; packed weights count as their codes."""
    files = [] if model.path is None else weight_files(model.path)
    return sum(math.prod(entry.shape) for file in files for entry in file.tensors.values())


def stored_types(model: BaseModel) -> frozenset[str]:
    """The number formats of a local model's tensors, as safetensors names them (`BF16`), without
    those that models compute."""
    files = [] if model.path is None else weight_files(model.path)
    return frozenset(
        entry.dtype
        for file in files
        for name, entry in file.tensors.items()
        if not COMPUTED.search(name)
    )


def _two_dimensional(model: BaseModel) -> dict[str, tuple[int, int] | None]:
    """Module to the shape of its two-dimensional weight, in the files' order."""
    if model.path is None:
        return {}
    return {
        name.removesuffix(".weight"): _true_shape(file, name)
        for file in weight_files(model.path)
        for name, entry in file.tensors.items()
        if name.endswith(".weight") and len(entry.shape) == 2
    }


def _true_shape(file: SafetensorsFile, name: str) -> tuple[int, int] | None:
    """The shape of the weight that a tensor holds; None for codes that do not tell it."""
    if nf4.state_name(file, name):
        rows, columns = nf4.read_state(file, name).shape
        return rows, columns
    rows, columns = file.entry(name).shape
    method = packing_method(file.tensors, name)
    one_code_a_number = method in ("bitsandbytes", "fp8")
    return (rows, columns) if method is None or one_code_a_number else None


def target_suffixes(module_names: Sequence[str]) -> list[str]:
    """The short names a person would type (`q_proj`), in order of first appearance."""
    return list(dict.fromkeys(name.rsplit(".", 1)[-1] for name in module_names))
