"""A forward path over a streamed base, without gradient; `rides` has the gradients.

All held-out rows of an evaluation ride on each reading of a layer, as far as their hidden states
stay within MOST_KEPT_BYTES; the others follow in a ride of their own. Generating reads the base
once a token, so such runs write no sample answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lora_engine.calculator.streaming import MOST_KEPT_BYTES
from lora_engine.data import TokenizedRow
from lora_engine.training.forward.batches import Batch, ForwardPath
from lora_engine.training.streaming.layer_stack import LayerStack
from lora_engine.training.streaming.layer_stream import LayerStream
from lora_engine.training.streaming.walk import Walk, walk_up

if TYPE_CHECKING:
    import torch
    from torch import nn

T = TypeVar("T")


@dataclass(frozen=True)
class StreamedPath:
    """`inner` over layers that come and go. A ForwardPath, without gradient.

    lowest: the first layer in which, or before which, something trains. token_bytes: of the hidden
    states of one token.
    """

    inner: ForwardPath
    stack: LayerStack
    stream: LayerStream
    lowest: int
    token_bytes: int

    @property
    def model(self) -> nn.Module:
        return self.inner.model

    @property
    def description(self) -> str:
        return f"{self.inner.description}; {self.stream.layers} layers streamed from the disk"

    def collate(self, rows: Sequence[TokenizedRow]) -> Batch:
        return self.inner.collate(rows)

    def summed_loss(self, batch: Batch) -> torch.Tensor:
        return self.through(lambda: self.inner.summed_loss(batch))

    def log_probabilities(self, batch: Batch, temperature: float = 1.0) -> torch.Tensor:
        return self.through(lambda: self.inner.log_probabilities(batch, temperature))

    def all_log_probabilities(self, batch: Batch) -> torch.Tensor:
        return self.through(lambda: self.inner.all_log_probabilities(batch))

    def next_tokens(self, rows: Sequence[TokenizedRow]) -> list[int]:
        return self.through(lambda: self.inner.next_tokens(rows))

    def through(self, forward: Callable[[], Any]) -> Any:
        """What a pass of `forward` gives, without gradient."""
        walk = Walk(self.stack, forward, keeps_inputs=False)
        walk_up(self.stream, [walk])
        return walk.at_the_top()

    def row_losses(self, rows: Sequence[TokenizedRow]) -> list[float]:
        """The mean loss over the supervised tokens of each row, nats a token."""
        return [total / max(1, supervised) for total, supervised in self.summed_losses(rows, 1)]

    def summed_losses(
        self, rows: Sequence[TokenizedRow], batch_size: int
    ) -> list[tuple[float, int]]:
        """The summed loss of each batch, and its supervised tokens; without dropout."""
        batches = [
            self.collate(rows[start : start + batch_size])
            for start in range(0, len(rows), batch_size)
        ]
        found: list[tuple[float, int]] = []
        self.model.eval()
        for ride in riding_together(batches, lambda batch: batch.tokens * self.token_bytes):
            walks = [Walk(self.stack, self.loss_of(batch), False) for batch in ride]
            walk_up(self.stream, walks)
            losses = [float(walk.at_the_top()) for walk in walks]
            found += zip(losses, (batch.supervised for batch in ride), strict=True)
        self.model.train()
        return found

    def loss_of(self, batch: Batch, supervised: int = 1) -> Callable[[], torch.Tensor]:
        """Its summed loss as a pass, divided by the supervised tokens of a step."""
        return lambda: self.inner.summed_loss(batch) / supervised


def riding_together(items: Sequence[T], kept_bytes: Callable[[T], float]) -> Iterator[list[T]]:
    """The items in their order, as many together as keep MOST_KEPT_BYTES at most."""
    ride: list[T] = []
    kept = 0.0
    for item in items:
        own = kept_bytes(item)
        if ride and kept + own > MOST_KEPT_BYTES:
            yield ride
            ride, kept = [], 0.0
        ride.append(item)
        kept += own
    if ride:
        yield ride
