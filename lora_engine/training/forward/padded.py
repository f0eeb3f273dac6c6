"""The plain path: rows padded to the longest, the model's own forward, the model's own logits.

Works for every causal language model of transformers, under any adapter and quantization; it
pays for the padding and for the logits of tokens that have no loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data import TokenizedRow
from lora_engine.training.forward.batches import IGNORED

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class PaddedBatch:
    """Rows padded on the right to the longest; all tensors (rows, longest)."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    tokens: int
    supervised: int


@dataclass(frozen=True)
class PaddedPath:
    """See the module's docstring. A ForwardPath."""

    model: nn.Module
    pad_id: int
    device: str
    description: str = "padded batches, the model's own logits"

    def collate(self, rows: Sequence[TokenizedRow]) -> PaddedBatch:
        """A batch as tensors; padding is neither attended to nor supervised."""
        import torch

        longest = max(len(row.input_ids) for row in rows)
        input_ids = torch.full((len(rows), longest), self.pad_id)
        attention_mask = torch.zeros((len(rows), longest), dtype=torch.long)
        labels = torch.full((len(rows), longest), IGNORED)
        for i, row in enumerate(rows):
            length = len(row.input_ids)
            input_ids[i, :length] = torch.tensor(row.input_ids)
            attention_mask[i, :length] = 1
            labels[i, :length] = torch.tensor(row.labels)
        # The first token of a row is never predicted, so its label never counts.
        supervised = int((labels[:, 1:] != IGNORED).sum())
        return PaddedBatch(
            input_ids.to(self.device),
            attention_mask.to(self.device),
            labels.to(self.device),
            tokens=int(attention_mask.sum()),
            supervised=supervised,
        )

    def summed_loss(self, batch: PaddedBatch) -> torch.Tensor:
        """Σ −log p(token) over the supervised tokens of a batch, a scalar in float32 (nats)."""
        from torch.nn.functional import cross_entropy

        logits = self.model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
        ).logits  # (rows, longest, vocabulary)
        predicted = batch.labels[:, 1:] != IGNORED  # (rows, longest - 1)
        kept = logits[:, :-1][predicted].float()  # (supervised, vocabulary)
        return cross_entropy(kept, batch.labels[:, 1:][predicted], reduction="sum")

    def next_tokens(self, rows: Sequence[TokenizedRow]) -> list[int]:
        import torch

        batch = self.collate(rows)
        logits = self.model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
        ).logits  # (rows, longest, vocabulary)
        last = torch.tensor([len(row.input_ids) - 1 for row in rows], device=self.device)
        return logits[torch.arange(len(rows), device=self.device), last].argmax(-1).tolist()
