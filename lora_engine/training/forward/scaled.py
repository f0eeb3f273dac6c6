"""Loss scaling around another path, for float16. The losses are the inner path's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data import TokenizedRow
from lora_engine.training.forward.batches import Batch, ForwardPath
from lora_engine.training.kernels.loss_scale import LossScale

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class ScaledPath:
    """`inner`, into which gradients come multiplied by `scale`. A ForwardPath."""

    inner: ForwardPath
    scale: LossScale

    @property
    def model(self) -> nn.Module:
        return self.inner.model

    @property
    def description(self) -> str:
        return f"{self.inner.description}; gradients scaled for float16"

    def collate(self, rows: Sequence[TokenizedRow]) -> Batch:
        return self.inner.collate(rows)

    def summed_loss(self, batch: Batch) -> torch.Tensor:
        return self.scale.on_gradient(self.inner.summed_loss(batch))

    def log_probabilities(self, batch: Batch, temperature: float = 1.0) -> torch.Tensor:
        return self.scale.on_gradient(self.inner.log_probabilities(batch, temperature))

    def all_log_probabilities(self, batch: Batch) -> torch.Tensor:
        return self.scale.on_gradient(self.inner.all_log_probabilities(batch))

    def next_tokens(self, rows: Sequence[TokenizedRow]) -> list[int]:
        return self.inner.next_tokens(rows)
