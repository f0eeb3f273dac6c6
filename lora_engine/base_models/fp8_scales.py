"""Weights of 8-bit floats with a scale a block (fine-grained FP8): which of them are read here.

    W[i, j] = code[i, j] · scale[i // m, j // n],  blocks of (m, n)      arXiv 2412.19437, 3.3.2

transformers multiplies them out on loading. It takes the block's size from the numbers of scales,
which is another size where blocks do not fill the weight; such weights are refused. Reads headers
alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lora_engine.base_models.weight_files import listed
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.weights.safetensors_file import TensorEntry

BLOCK = [128, 128]  # where the configuration does not say it
SCALE_TYPES = ("F32", "BF16", "F16", "F8_E8M0")


def refuse_other_scales(
    name: str,
    entry: Mapping[str, Any],
    tensors: Mapping[str, TensorEntry],
    packed: Sequence[str],
) -> None:
    """Raises EngineError where a weight of 8-bit floats has no scales that are read here.

    entry: the quantization_config. packed: the names of the weights of 8-bit floats.
    """
    block = entry.get("weight_block_size", BLOCK)
    wrong = [
        f"{weight} {list(tensors[weight].shape)}"
        for weight in packed
        if not _fits(tensors[weight], tensors.get(f"{weight}_scale_inv"), block)
    ]
    if wrong:
        blocks = (
            tr("one scale a weight")
            if block is None
            else tr("a scale for each block of {block}", block=block)
        )
        raise EngineError(
            tr(
                "The base model {name} is stored with FP8, and {count} of its {count_2} FP8 "
                "weights lack what config.json says ({blocks} in weight_scale_inv, blocks "
                "that fill the weight): {listed}.",
                name=f"{name!r}",
                count=f"{len(wrong):,}",
                count_2=f"{len(packed):,}",
                blocks=blocks,
                listed=listed(wrong),
            ),
            tr(
                "Give the 16-bit model it was made from; FP8 with other scales is read by "
                "vllm or compressed-tensors, not here."
            ),
        )


def _fits(weight: TensorEntry, scale: TensorEntry | None, block: Any) -> bool:
    """Whether the scale has a number for each whole block of the weight."""
    if scale is None or scale.dtype not in SCALE_TYPES or len(weight.shape) not in (2, 3):
        return False
    if block is None:
        return scale.shape in ((), (1,), (1, 1))
    if not isinstance(block, list) or len(block) != 2:
        return False
    if scale.shape[:-2] != weight.shape[:-2] or len(scale.shape) != len(weight.shape):
        return False
    sides = zip(weight.shape[-2:], scale.shape[-2:], block, strict=True)
    return all(
        type(size) is int and size > 0 and ((count == 1 and side <= size) or count * size == side)
        for side, count, size in sides
    )
