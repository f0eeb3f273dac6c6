"""The forward path of classifiers: their loss, their accuracy and F1.

Padded rows, and a class for each row or for each labelled token. The model is one of
transformers' classification models; products run in the run's precision through autocast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data import TokenizedRow
from lora_engine.errors import EngineError
from lora_engine.training.forward.batches import IGNORED, ForwardPath
from lora_engine.training.forward.padded import PaddedBatch, pad_rows

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class ClassificationScores:
    """Accuracy and macro F1 (the mean of the classes' F1), both between 0 and 1."""

    accuracy: float
    f1: float


@dataclass(frozen=True)
class ClassifierPath:
    """See the module's docstring. A ForwardPath whose labels are classes instead of tokens."""

    model: nn.Module
    pad_id: int
    device: str
    dtype: torch.dtype
    description: str = "padded batches, a classification head"

    def collate(self, rows: Sequence[TokenizedRow]) -> PaddedBatch:
        """Labels are (rows, 1) where rows are classified, (rows, longest) where tokens are."""
        return pad_rows(rows, self.pad_id, self.device, first_label=0)

    def summed_loss(self, batch: PaddedBatch) -> torch.Tensor:
        """Σ −log p(class) over the labelled rows or tokens, a scalar in float32 (nats)."""
        from torch.nn.functional import cross_entropy

        logits = self.logits(batch)
        return cross_entropy(logits, batch.labels.flatten(), ignore_index=IGNORED, reduction="sum")

    def logits(self, batch: PaddedBatch) -> torch.Tensor:
        """(labels of the batch, classes) in float32, in the order of `batch.labels` flattened."""
        import torch

        with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
            logits = self.model(
                input_ids=batch.input_ids, attention_mask=batch.attention_mask
            ).logits  # (rows, classes) or (rows, longest, classes)
        return logits.float().flatten(0, -2)

    def next_tokens(self, rows: Sequence[TokenizedRow]) -> list[int]:
        """Raises EngineError: a classifier has no next token."""
        raise EngineError("A classifier does not generate text.", "Ask for no sample answers.")


def classification_scores(
    path: ForwardPath, rows: Sequence[TokenizedRow], batch_size: int
) -> ClassificationScores | None:
    """A classifier's accuracy and F1 over `rows`; None for a language model, or no rows."""
    import torch

    if not isinstance(path, ClassifierPath) or not rows:
        return None
    true_classes: list[int] = []
    predicted_classes: list[int] = []
    path.model.eval()
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            batch = path.collate(rows[start : start + batch_size])
            labels = batch.labels.flatten()
            labelled = labels != IGNORED
            true_classes += labels[labelled].tolist()
            predicted_classes += path.logits(batch)[labelled].argmax(-1).tolist()
    path.model.train()
    return accuracy_and_f1(true_classes, predicted_classes)


def accuracy_and_f1(
    true_classes: Sequence[int], predicted_classes: Sequence[int]
) -> ClassificationScores:
    """Accuracy, and F1 = 2·TP / (2·TP + FP + FN) averaged over the classes that occur in either.

    This is scikit-learn's macro F1. For tags it counts single words, not names of several words.
    """
    pairs = zip(true_classes, predicted_classes, strict=True)
    correct = Counter(true for true, predicted in pairs if true == predicted)
    # TP + FN and TP + FP of each class: their sum is the denominator of F1.
    occurring, predicted = Counter(true_classes), Counter(predicted_classes)
    classes = set(occurring) | set(predicted)
    each = (2 * correct[name] / (occurring[name] + predicted[name]) for name in classes)
    return ClassificationScores(
        accuracy=correct.total() / len(true_classes), f1=sum(each) / len(classes)
    )
