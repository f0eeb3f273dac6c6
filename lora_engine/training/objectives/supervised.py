"""The supervised objective: every supervised token of every row is made likelier."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from lora_engine.data import TokenizedRow
from lora_engine.training.evaluation import evaluate
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.objectives.objective import Evaluation, StepGradients
from lora_engine.training.ranks.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Supervised:
    """The mean of −log p(token) over a step's supervised tokens (nats). An Objective."""

    path: ForwardPath
    ranks: Ranks = ALONE

    def gradients(self, step: int, batches: Sequence[Sequence[TokenizedRow]]) -> StepGradients:
        """Gradient accumulation: a forward and a backward pass for each of the batches."""
        started = time.perf_counter()
        collated = [self.path.collate(rows) for rows in batches]
        supervised = max(1.0, self.ranks.total(sum(batch.supervised for batch in collated)))
        loss = 0.0
        for batch in collated:
            # Divided by the tokens of the whole step: each supervised token weighs the same,
            # however they are spread over the batches.
            mean = self.path.summed_loss(batch) / supervised
            mean.backward()
            loss += float(mean.detach())
        tokens = sum(batch.tokens for batch in collated if batch.supervised)
        loss, read = self.ranks.totals([loss, tokens])
        return StepGradients(loss, int(read), time.perf_counter() - started)

    def evaluate(self, rows: Sequence[TokenizedRow], batch_size: int) -> Evaluation:
        return Evaluation(evaluate(self.path, rows, batch_size, self.ranks))
