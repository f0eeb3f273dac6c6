"""What the loop asks of a forward path: batches of rows, and the summed loss of a batch.

Two paths keep this promise: `padded` (any causal language model) and `packed` (no padding, less
work, for models it was checked on). The loop does not know which one it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from lora_engine.data import TokenizedRow

if TYPE_CHECKING:
    import torch
    from torch import nn

IGNORED = -100


class Batch(Protocol):
    """Rows as tensors. tokens: without padding. supervised: tokens the loss is on."""

    tokens: int
    supervised: int


class ForwardPath(Protocol):
    """How rows become a loss. model: what trains. description: for the log, in words."""

    model: nn.Module
    description: str

    def collate(self, rows: Sequence[TokenizedRow]) -> Batch:
        """The rows as tensors on the model's device."""

    def summed_loss(self, batch: Batch) -> torch.Tensor:
        """Σ −log p(token) over the supervised tokens, a float32 scalar (nats)."""

    def next_tokens(self, rows: Sequence[TokenizedRow]) -> list[int]:
        """The likeliest token after each row."""
