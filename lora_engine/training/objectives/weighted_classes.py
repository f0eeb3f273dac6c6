"""The supervised objective of a classifier whose rare classes count more.

A step's loss is that of torch's cross_entropy with `weight`: Σ w·(−log p(class)) / Σ w over the
labelled rows or words of the step. Evaluation stays unweighted, so that its loss compares with that
of a run without weights.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lora_engine.data import TokenizedRow
from lora_engine.training.evaluation import evaluate
from lora_engine.training.forward.batches import IGNORED
from lora_engine.training.forward.classifier_path import ClassifierPath
from lora_engine.training.objectives.objective import Evaluation, StepGradients
from lora_engine.training.ranks.ranks import ALONE, Ranks


@dataclass(frozen=True)
class WeightedClasses:
    """The weighted mean of −log p(class) over a step's labels (nats). An Objective.

    weights: of the classes, in the order of the head's outputs.
    """

    path: ClassifierPath
    weights: tuple[float, ...]
    ranks: Ranks = ALONE

    def gradients(self, step: int, batches: Sequence[Sequence[TokenizedRow]]) -> StepGradients:
        """Gradient accumulation, every label weighed by its class over the whole step."""
        import torch
        from torch.nn.functional import cross_entropy

        started = time.perf_counter()
        collated = [self.path.collate(rows) for rows in batches]
        weights = torch.tensor(self.weights, device=self.path.device)  # (classes)
        labels = [batch.labels.flatten() for batch in collated]
        total = float(sum(weights[one[one != IGNORED]].sum() for one in labels))
        total = self.ranks.total(total)
        loss = 0.0
        for batch, wanted in zip(collated, labels, strict=True):
            summed = cross_entropy(
                self.path.logits(batch),
                wanted,
                weights,
                ignore_index=IGNORED,
                reduction="sum",
            )
            mean = summed / total
            mean.backward()
            loss += float(mean.detach())
        loss, tokens = self.ranks.totals([loss, sum(batch.tokens for batch in collated)])
        return StepGradients(loss, int(tokens), time.perf_counter() - started)

    def evaluate(self, rows: Sequence[TokenizedRow], batch_size: int) -> Evaluation:
        return Evaluation(evaluate(self.path, rows, batch_size, self.ranks))


def balanced_weights(rows: Sequence[TokenizedRow], classes: int) -> tuple[float, ...]:
    """n / (k · n_c) for the n labels in the rows, k of the classes occurring, n_c of the class.

    scikit-learn's "balanced", so the mean weight of a label is 1. A class that does not occur has
    the weight 0, which nothing is multiplied by.
    """
    counts = Counter(label for row in rows for label in row.labels if label != IGNORED)
    total = counts.total()
    return tuple(
        total / (len(counts) * counts[number]) if counts[number] else 0.0
        for number in range(classes)
    )
