"""Mixed precision: 16-bit products while the weights that train stay in float32.

For full fine-tuning and its kin only: the path of an adapter does its own casting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data import TokenizedRow
from lora_engine.training.forward.batches import Batch, ForwardPath

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class AutocastPath:
    """`inner` under torch's autocast to `dtype`. A ForwardPath."""

    inner: ForwardPath
    dtype: torch.dtype

    @property
    def model(self) -> nn.Module:
        return self.inner.model

    @property
    def description(self) -> str:
        return f"{self.inner.description}; products in {self.dtype}"

    def collate(self, rows: Sequence[TokenizedRow]) -> Batch:
        return self.inner.collate(rows)

    def summed_loss(self, batch: Batch) -> torch.Tensor:
        with self._autocast():
            return self.inner.summed_loss(batch)

    def log_probabilities(self, batch: Batch, temperature: float = 1.0) -> torch.Tensor:
        with self._autocast():
            return self.inner.log_probabilities(batch, temperature)

    def all_log_probabilities(self, batch: Batch) -> torch.Tensor:
        with self._autocast():
            return self.inner.all_log_probabilities(batch)

    def next_tokens(self, rows: Sequence[TokenizedRow]) -> list[int]:
        with self._autocast():
            return self.inner.next_tokens(rows)

    def _autocast(self) -> torch.autocast:
        import torch

        return torch.autocast(next(self.model.parameters()).device.type, self.dtype)
