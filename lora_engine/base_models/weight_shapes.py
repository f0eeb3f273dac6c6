"""Names and shapes of a base model's weights, from the headers of its safetensors files."""

from __future__ import annotations

from collections.abc import Sequence

from lora_engine.base_models.find import BaseModel


def weight_module_names(model: BaseModel) -> list[str]:
    """Names of the modules that hold a two-dimensional weight, from the safetensors headers.

    Reads no weight. Empty for a hub id, whose files are not here yet.
    """
    return list(_two_dimensional(model))


def weight_shapes(model: BaseModel) -> dict[str, tuple[int, int]]:
    """Module to the shape of its two-dimensional weight; packed weights of few bits left out."""
    return {
        name: shape
        for name, (shape, dtype) in _two_dimensional(model).items()
        if dtype in ("F64", "F32", "F16", "BF16")
    }


def _two_dimensional(model: BaseModel) -> dict[str, tuple[tuple[int, int], str]]:
    """Module to the shape and the type of its two-dimensional weight, in the files' order."""
    from safetensors import safe_open

    if model.path is None:
        return {}
    found = {}
    for path in sorted(model.path.glob("*.safetensors")):
        with safe_open(path, framework="np") as file:
            for key in file.keys():  # noqa: SIM118 (a safetensors handle is no mapping)
                part = file.get_slice(key)
                if key.endswith(".weight") and len(part.get_shape()) == 2:
                    shape = tuple(part.get_shape())
                    found[key.removesuffix(".weight")] = (shape, part.get_dtype())
    return found


def target_suffixes(module_names: Sequence[str]) -> list[str]:
    """The short names a person would type (`q_proj`), in order of first appearance."""
    return list(dict.fromkeys(name.rsplit(".", 1)[-1] for name in module_names))
