"""The padded path: rows padded to the longest, the model's own forward, the model's own logits.

It works for every causal language model of transformers, under any adapter and quantization. The
price is the work on the padding, and the logits of tokens that have no loss.
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
    """Rows padded on the right to the longest."""

    input_ids: torch.Tensor  # (rows, longest)
    attention_mask: torch.Tensor  # (rows, longest), 1 at tokens, 0 at padding
    labels: torch.Tensor  # (rows, longest); (rows, 1) where a row has one class
    tokens: int
    supervised: int


def pad_rows(
    rows: Sequence[TokenizedRow], pad_id: int, device: str, first_label: int
) -> PaddedBatch:
    """The rows as one batch; padding is neither attended to nor supervised.

    first_label: the first position whose label counts. 1 for language models, where nothing
    predicts a row's first token; 0 for classifiers.
    """
    import torch

    longest = max(len(row.input_ids) for row in rows)
    most_labels = max(len(row.labels) for row in rows)
    input_ids = torch.full((len(rows), longest), pad_id)
    attention_mask = torch.zeros((len(rows), longest), dtype=torch.long)
    labels = torch.full((len(rows), most_labels), IGNORED)
    for i, row in enumerate(rows):
        length = len(row.input_ids)
        input_ids[i, :length] = torch.tensor(row.input_ids)
        attention_mask[i, :length] = 1
        labels[i, : len(row.labels)] = torch.tensor(row.labels)
    # Counted before the tensors move: counting on a GPU would wait for it.
    return PaddedBatch(
        tokens=int(attention_mask.sum()),
        supervised=int((labels[:, first_label:] != IGNORED).sum()),
        input_ids=input_ids.to(device),
        attention_mask=attention_mask.to(device),
        labels=labels.to(device),
    )


@dataclass(frozen=True)
class PaddedPath:
    """See the module's docstring. A ForwardPath."""

    model: nn.Module
    pad_id: int
    device: str
    description: str = "padded batches, the model's own logits"

    def collate(self, rows: Sequence[TokenizedRow]) -> PaddedBatch:
        return pad_rows(rows, self.pad_id, self.device, first_label=1)

    def summed_loss(self, batch: PaddedBatch) -> torch.Tensor:
        """Σ −log p(token) over the supervised tokens of a batch, a scalar in float32 (nats)."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(*self._supervised(batch), reduction="sum")

    def log_probabilities(self, batch: PaddedBatch, temperature: float = 1.0) -> torch.Tensor:
        from torch.nn.functional import cross_entropy

        logits, targets = self._supervised(batch)
        return -cross_entropy(logits / temperature, targets, reduction="none")

    def all_log_probabilities(self, batch: PaddedBatch) -> torch.Tensor:
        return self._supervised(batch)[0].log_softmax(-1)

    def _supervised(self, batch: PaddedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """The supervised tokens' logits (supervised, vocabulary) in float32, and the tokens."""
        logits = self._logits(batch)
        predicted = batch.labels[:, 1:] != IGNORED  # (rows, longest - 1)
        # Chosen before the cast to float32, which then copies the supervised positions only.
        return logits[:, :-1][predicted].float(), batch.labels[:, 1:][predicted]

    def next_tokens(self, rows: Sequence[TokenizedRow]) -> list[int]:
        import torch

        logits = self._logits(self.collate(rows))
        last = torch.tensor([len(row.input_ids) - 1 for row in rows], device=self.device)
        return logits[torch.arange(len(rows), device=self.device), last].argmax(-1).tolist()

    def _logits(self, batch: PaddedBatch) -> torch.Tensor:
        """(rows, longest, vocabulary). Those of virtual tokens, which PEFT puts first, are left
        out: a row's first token has no loss with any method, so that losses compare."""
        logits = self.model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
        ).logits
        return logits[:, -batch.input_ids.shape[1] :]
