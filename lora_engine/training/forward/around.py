"""A forward path around another: the inner one's batches and losses, with more around each pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data import TokenizedRow
from lora_engine.training.forward.batches import Batch, ForwardPath

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class PathAround:
    """`inner`, each pass of which runs within `around`, and whose results go through `answered`.

    Subclasses say what these are, and `words`: what they add, for the log. A ForwardPath.
    """

    inner: ForwardPath

    @property
    def words(self) -> str:
        raise NotImplementedError

    def around(self) -> AbstractContextManager[object]:
        """Entered for a pass whose result has a gradient."""
        return nullcontext()

    def around_answers(self) -> AbstractContextManager[object]:
        """Entered for a pass that asks for tokens, without gradient."""
        return nullcontext()

    def answered(self, result: torch.Tensor) -> torch.Tensor:
        """The result of a pass as the caller gets it."""
        return result

    @property
    def model(self) -> nn.Module:
        return self.inner.model

    @property
    def description(self) -> str:
        return f"{self.inner.description}; {self.words}"

    def collate(self, rows: Sequence[TokenizedRow]) -> Batch:
        return self.inner.collate(rows)

    def summed_loss(self, batch: Batch) -> torch.Tensor:
        with self.around():
            return self.answered(self.inner.summed_loss(batch))

    def log_probabilities(self, batch: Batch, temperature: float = 1.0) -> torch.Tensor:
        with self.around():
            return self.answered(self.inner.log_probabilities(batch, temperature))

    def all_log_probabilities(self, batch: Batch) -> torch.Tensor:
        with self.around():
            return self.answered(self.inner.all_log_probabilities(batch))

    def next_tokens(self, rows: Sequence[TokenizedRow]) -> list[int]:
        with self.around_answers():
            return self.inner.next_tokens(rows)
