"""A forward path over a streamed base, and the supervised objective that trains on it.

All batches of a step, and all held-out rows of an evaluation, ride on each reading of a layer, as
far as what they keep for the way back stays within MOST_KEPT_BYTES; the others follow in a ride of
their own. Generating reads the base once a token, so such runs write no sample answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lora_engine.calculator.streaming import MOST_KEPT_BYTES
from lora_engine.data import TokenizedRow
from lora_engine.training.forward.batches import Batch, ForwardPath
from lora_engine.training.objectives.objective import Evaluation, StepGradients
from lora_engine.training.streaming.layer_stack import LayerStack
from lora_engine.training.streaming.layer_stream import LayerStream
from lora_engine.training.streaming.walk import Walk, walk_down, walk_up

if TYPE_CHECKING:
    import torch
    from torch import nn


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

    def rides(self, batches: Sequence[Batch], kept_layers: int) -> Iterator[list[Batch]]:
        """Batches that ride together. kept_layers: of how many layers their inputs are kept."""
        ride: list[Batch] = []
        kept = 0
        for batch in batches:
            own = batch.tokens * self.token_bytes * kept_layers
            if ride and kept + own > MOST_KEPT_BYTES:
                yield ride
                ride, kept = [], 0
            ride.append(batch)
            kept += own
        if ride:
            yield ride


@dataclass(frozen=True)
class StreamedSupervised:
    """The mean of −log p(token) over a step's supervised tokens (nats). An Objective."""

    path: StreamedPath

    def gradients(self, step: int, batches: Sequence[Sequence[TokenizedRow]]) -> StepGradients:
        started = time.perf_counter()
        path, collated = self.path, [self.path.collate(rows) for rows in batches]
        supervised = max(1, sum(batch.supervised for batch in collated))
        loss = 0.0
        for ride in path.rides(collated, path.stream.layers):
            walks = [Walk(path.stack, self._mean_loss(batch, supervised)) for batch in ride]
            walk_up(path.stream, walks)
            loss += sum(walk.turn() for walk in walks)
            walk_down(path.stream, walks, path.lowest)
        tokens = sum(batch.tokens for batch in collated)
        return StepGradients(loss, tokens, time.perf_counter() - started)

    def _mean_loss(self, batch: Batch, supervised: int) -> Callable[[], torch.Tensor]:
        return lambda: self.path.inner.summed_loss(batch) / supervised

    def evaluate(self, rows: Sequence[TokenizedRow], batch_size: int) -> Evaluation:
        if not rows:
            return Evaluation()
        path, total, count = self.path, 0.0, 0
        collated = [
            path.collate(rows[start : start + batch_size])
            for start in range(0, len(rows), batch_size)
        ]
        path.model.eval()
        for ride in path.rides(collated, 1):
            walks = [Walk(path.stack, self._mean_loss(batch, 1), False) for batch in ride]
            walk_up(path.stream, walks)
            total += sum(float(walk.at_the_top()) for walk in walks)
            count += sum(batch.supervised for batch in ride)
        path.model.train()
        return Evaluation(total / max(1, count))
