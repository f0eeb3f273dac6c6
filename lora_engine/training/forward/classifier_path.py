"""The forward path of classifiers: their loss, and the classes that they predict.

Padded rows, and a class for each row or for each labelled token. The model is one of
transformers' classification models; products run in the run's precision through autocast. What the
predicted classes are worth is for `classification_scores` to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data import TokenizedRow
from lora_engine.data.class_labels import Classes
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.training.forward.batches import IGNORED, ForwardPath
from lora_engine.training.forward.classification_scores import (
    ClassificationScores,
    LabelledRow,
    scores_of,
)
from lora_engine.training.forward.padded import PaddedBatch, pad_rows

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class ClassifierPath:
    """See the module's docstring. A ForwardPath whose labels are classes instead of tokens."""

    model: nn.Module
    pad_id: int
    device: str
    dtype: torch.dtype
    classes: Classes
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

    def log_probabilities(self, batch: PaddedBatch, temperature: float = 1.0) -> torch.Tensor:
        """Raises EngineError: a classifier has no tokens to score."""
        raise EngineError(
            tr("A classifier gives no text a probability."), tr("Choose the objective sft.")
        )

    def all_log_probabilities(self, batch: PaddedBatch) -> torch.Tensor:
        """Raises EngineError: a classifier has no tokens to score."""
        raise EngineError(
            tr("A classifier gives no text a probability."), tr("Choose the objective sft.")
        )

    def next_tokens(self, rows: Sequence[TokenizedRow]) -> list[int]:
        """Raises EngineError: a classifier has no next token."""
        raise EngineError(
            tr("A classifier does not generate text."), tr("Ask for no sample answers.")
        )


def classification_scores(
    path: ForwardPath, rows: Sequence[TokenizedRow], batch_size: int
) -> ClassificationScores | None:
    """A classifier's scores over `rows`; None for a language model, or without labelled rows."""
    if not isinstance(path, ClassifierPath):
        return None
    return scores_of(labelled_rows(path, rows, batch_size), path.classes)


def labelled_rows(
    path: ClassifierPath, rows: Sequence[TokenizedRow], batch_size: int
) -> list[LabelledRow]:
    """The rows' true classes and the likeliest ones, where they are labelled."""
    import torch

    names = path.classes.labels
    found: list[LabelledRow] = []
    path.model.eval()
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            batch = path.collate(rows[start : start + batch_size])
            predicted = path.logits(batch).argmax(-1).view_as(batch.labels)
            for true_row, predicted_row in zip(
                batch.labels.tolist(), predicted.tolist(), strict=True
            ):
                pairs = [
                    (a, b) for a, b in zip(true_row, predicted_row, strict=True) if a != IGNORED
                ]
                found.append(
                    LabelledRow(
                        tuple(names[true] for true, _ in pairs),
                        tuple(names[predicted] for _, predicted in pairs),
                    )
                )
    path.model.train()
    return found
