"""What the loop asks of an objective: the gradients of a step, and a loss on held-out rows.

The loop knows steps, rates, clipping and saving; an objective knows what a step's rows are worth
learning. Which numbers besides the loss an objective measures stands in the figures below, each by
the name that it has in `metrics.jsonl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lora_engine.data import TokenizedRow
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.forward.classification_scores import ClassificationScores


@dataclass(frozen=True)
class StepFigures:
    """What an objective measured in a step besides its loss; None for what it does not have."""

    reward: float | None = None
    reward_std: float | None = None
    equal_groups: float | None = None
    answer_tokens: float | None = None
    kl: float | None = None
    clipped: float | None = None
    reward_chosen: float | None = None
    reward_rejected: float | None = None
    reward_margin: float | None = None
    reward_accuracy: float | None = None


@dataclass(frozen=True)
class EvaluationFigures:
    """What an objective measured on the held-out rows besides their loss."""

    eval_reward: float | None = None
    eval_reward_chosen: float | None = None
    eval_reward_rejected: float | None = None
    eval_reward_margin: float | None = None
    eval_reward_accuracy: float | None = None
    eval_kl: float | None = None


@dataclass(frozen=True)
class StepGradients:
    """What the passes of one step left in the weights' gradients, before clipping.

    loss: as the objective defines it; supervised, the mean over the step's supervised tokens
    (nats). seconds: that the passes took.
    """

    loss: float
    tokens: int
    seconds: float
    figures: StepFigures = StepFigures()


@dataclass(frozen=True)
class Evaluation:
    """Figures on the held-out rows; None where there are no such rows, or no evaluation is due."""

    loss: float | None = None
    scores: ClassificationScores | None = None
    figures: EvaluationFigures = EvaluationFigures()


class Objective(Protocol):
    """How rows become the gradients of a step."""

    @property
    def path(self) -> ForwardPath:
        """The forward path of the model that trains."""

    def gradients(self, step: int, batches: Sequence[Sequence[TokenizedRow]]) -> StepGradients:
        """Fill the gradients of the weights that train, from the rows of each of a step's passes.

        step: counted from 1. The model is in training mode before and after.
        """

    def evaluate(self, rows: Sequence[TokenizedRow], batch_size: int) -> Evaluation:
        """The loss and the figures on rows that are not trained on; no loss without rows.

        No weight and no random number changes.
        """
