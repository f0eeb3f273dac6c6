"""Bytes of optimizer state for trained weights of given shapes.

AdamW keeps two moments a weight in the weight's own dtype (torch.optim). bitsandbytes' 8-bit AdamW
keeps them in one byte each with a float32 scale for every block of 256, and leaves tensors under
4096 weights in float32. Adafactor keeps a row and a column of second moments a matrix
(arXiv 1804.04235). GaLore keeps AdamW's moments for a rank-r projection and the projector
(arXiv 2403.03507, table 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from lora_engine.spec import Optimizer

CountedOptimizer = Optimizer | Literal["galore", "sgd"]

BLOCK_8BIT = 256
MIN_8BIT = 4096

FORMULAS = {
    "adamw": "2 moments x trained weights x {b} bytes",
    "adamw_8bit": "2 x (1 byte + 4/256 bytes of scale) a weight; 8 bytes in tensors under 4,096",
    "paged_adamw": "2 moments x trained weights x 4 bytes, in pages that may move to the host",
    "paged_adamw_8bit": "2 x (1 + 4/256) bytes a weight, in pages that may move to the host",
    "adafactor": "4 bytes x (rows + columns) a matrix",
    "galore": "4 bytes x (2 r max(m, n) + r min(m, n)) a layer matrix, 8 bytes a weight elsewhere",
    "sgd": "none without momentum",
}


def state_bytes(
    optimizer: CountedOptimizer,
    shapes: Iterable[tuple[tuple[int, ...], int]],
    weight_bytes: int,
    rank: int,
) -> int:
    """Bytes of state for trained tensors given as (shape, how many of that shape).

    weight_bytes: of the trained weights, whose dtype AdamW's moments share. rank: GaLore's.
    """
    return sum(many * _tensor_bytes(optimizer, shape, weight_bytes, rank) for shape, many in shapes)


def _tensor_bytes(
    optimizer: CountedOptimizer, shape: tuple[int, ...], weight_bytes: int, rank: int
) -> int:
    size = 1
    for side in shape:
        size *= side
    if optimizer == "sgd":
        return 0
    if optimizer == "adafactor":
        return 4 * (sum(shape) if len(shape) == 2 else size)
    if optimizer == "galore" and len(shape) == 2 and rank < min(shape):
        return 4 * (2 * rank * max(shape) + rank * min(shape))
    if optimizer.endswith("8bit") and size >= MIN_8BIT:
        return 2 * (size + 4 * -(-size // BLOCK_8BIT))
    if optimizer == "adamw":
        return 2 * size * weight_bytes
    return 2 * size * 4
