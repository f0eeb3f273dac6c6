"""What the loop asks of a forward path: batches of rows, and the summed loss of a batch.

Three paths do this: `padded` (any causal language model), `packed` (no padding and less work, for
models it was checked on) and `classifier_path`; `autocast`, `scaled` and `offloaded` are `around`
one of them. The loop does not know which one it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from lora_engine.data import TokenizedRow

if TYPE_CHECKING:
    import torch
    from torch import nn

IGNORED = -100  # the label of a token without loss, as torch's cross_entropy has it


class Batch(Protocol):
    """Rows as tensors. tokens: without padding. supervised: the tokens that have a loss."""

    @property
    def tokens(self) -> int: ...

    @property
    def supervised(self) -> int: ...


BatchT = TypeVar("BatchT", bound=Batch)


class ForwardPath(Protocol[BatchT]):
    """How rows become a loss."""

    @property
    def model(self) -> nn.Module:
        """The model that trains."""

    @property
    def description(self) -> str:
        """The path in words, for the log."""

    def collate(self, rows: Sequence[TokenizedRow]) -> BatchT:
        """The rows as tensors on the model's device."""

    def summed_loss(self, batch: BatchT) -> torch.Tensor:
        """Σ −log p(token) over the supervised tokens, a float32 scalar (nats)."""

    def log_probabilities(self, batch: BatchT, temperature: float = 1.0) -> torch.Tensor:
        """ln p(token) of each supervised token, row after row, (supervised,) in float32 (nats).

        p = softmax(logits / temperature). Differentiable, as the loss is.
        """

    def all_log_probabilities(self, batch: BatchT) -> torch.Tensor:
        """ln p of every token of the vocabulary in the place of each supervised token, (supervised,
        vocabulary) in float32 (nats)."""

    def next_tokens(self, rows: Sequence[TokenizedRow]) -> list[int]:
        """The likeliest token after each row."""
