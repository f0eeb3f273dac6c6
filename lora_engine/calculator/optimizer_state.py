"""Bytes of optimizer state for trained weights of given shapes, and of what a step makes beside it.

Trained weights are in float32, and so are their gradients. What each optimizer keeps was read off
its state after a step, and is held to it by a test:

AdamW keeps two moments a weight (torch.optim, fused, whose step makes nothing). bitsandbytes' 8-bit
AdamW keeps them in one byte each with a float32 scale for every block of 256, and leaves tensors
under 4,096 weights in float32; its paged forms page tensors from 100,000 weights on. Adafactor
keeps a row and a column of second moments a matrix, and vectors whole (arXiv 1804.04235;
transformers' own class). GaLore keeps AdamW's moments for a rank-r projection of a matrix, and the
projector (arXiv 2403.03507, table 1); tensors of other dimensions, as fused experts, stay whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lora_engine.language import translatable
from lora_engine.spec import Optimizer

CountedOptimizer = Optimizer | Literal["galore", "sgd"]

BLOCK_8BIT = 256
MIN_8BIT = 4096
MIN_PAGED = 100_000  # bitsandbytes' GlobalOptimManager pages no smaller tensor

TWO_MOMENTS = translatable("2 moments × trained weights × 4 bytes")
FORMULAS = {
    "adamw": TWO_MOMENTS,
    "adamw_8bit": translatable(
        "2 × (1 byte + 4/256 bytes of scale) a weight; 8 bytes in tensors under 4,096"
    ),
    "paged_adamw": TWO_MOMENTS,
    "paged_adamw_8bit": translatable(
        "2 × (1 + 4/256) bytes a weight; 8 bytes in tensors under 4,096"
    ),
    "adafactor": translatable("4 bytes × (rows + columns) a matrix, 4 bytes a weight of a vector"),
    "galore": translatable(
        "4 bytes × (2 r max(m, n) + r min(m, n)) a layer matrix, 8 bytes a weight elsewhere"
    ),
    "sgd": translatable("none without momentum"),
}
NOT_PROJECTED = 1 << 31  # a GaLore rank that no matrix has room for


@dataclass(frozen=True)
class OptimizerState:
    """Bytes of state. pageable: the part in pages that may move to the host; step: what updating
    the largest tensor takes besides."""

    held: int = 0
    pageable: int = 0
    step: int = 0

    def __add__(self, other: OptimizerState) -> OptimizerState:
        return OptimizerState(
            self.held + other.held, self.pageable + other.pageable, max(self.step, other.step)
        )


def state_of(
    optimizer: CountedOptimizer, shapes: Iterable[tuple[tuple[int, ...], int]], rank: int
) -> OptimizerState:
    """The state for trained tensors given as (shape, how many of that shape). rank: GaLore's."""
    held = pageable = step = 0
    for shape, many in shapes:
        size = math.prod(shape)
        each = _tensor_bytes(optimizer, shape, rank)
        held += many * each
        if optimizer.startswith("paged") and size >= MIN_PAGED:
            pageable += many * each
        step = max(step, 4 * size * _copies_in_a_step(optimizer, shape, rank))
    return OptimizerState(held, pageable, step)


def _copies_in_a_step(optimizer: CountedOptimizer, shape: tuple[int, ...], rank: int) -> int:
    """float32 copies of a trained tensor that live at once in its update; fused ones make none."""
    if optimizer == "galore":
        return 2 if _is_projected(shape, rank) else 3
    return 2 if optimizer == "adafactor" else 0


def _is_projected(shape: tuple[int, ...], rank: int) -> bool:
    return len(shape) == 2 and rank < min(shape)


def _tensor_bytes(optimizer: CountedOptimizer, shape: tuple[int, ...], rank: int) -> int:
    size = math.prod(shape)
    if optimizer == "sgd":
        return 0
    if optimizer == "adafactor":  # the last two sides are factored, in each of the others
        outer = math.prod(shape[:-2])
        return 4 * (outer * (shape[-2] + shape[-1]) if len(shape) >= 2 else size)
    if optimizer == "galore" and _is_projected(shape, rank):
        return 4 * (2 * rank * max(shape) + rank * min(shape))
    if optimizer.endswith("8bit") and size >= MIN_8BIT:
        return 2 * (size + 4 * -(-size // BLOCK_8BIT))
    return 2 * size * 4
