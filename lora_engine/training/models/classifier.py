"""Classifiers on an encoder: the base with a new head, its loss, its accuracy and F1.

The padded path with another head: a class for each row, or for each labelled token. The model's
own forward under its Auto class; products in the run's precision by autocast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.base_models import BaseModel
from lora_engine.data import TokenizedRow
from lora_engine.errors import EngineError
from lora_engine.library_imports import import_transformers
from lora_engine.spec import Task
from lora_engine.training.forward.batches import IGNORED, ForwardPath
from lora_engine.training.forward.padded import PaddedBatch
from lora_engine.training.loop import Scores

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel


def load_classifier(
    model: BaseModel, task: Task, labels: Sequence[str], device: str, dtype: torch.dtype
) -> PreTrainedModel:
    """The base with a fresh head of one output a class, drawn by torch's generator.

    Raises EngineError where transformers knows no such head for the base, or files lack.
    """
    import_transformers()
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    is_sequence = task == "sequence_classification"
    auto = AutoModelForSequenceClassification if is_sequence else AutoModelForTokenClassification
    try:
        loaded = auto.from_pretrained(
            model.source,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=model.is_local,
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0][:300]
        raise EngineError(
            f"The base model {model.name!r} cannot be loaded for {task}: {reason}",
            "Give an encoder such as BERT with config.json and safetensors weights.",
        ) from error
    return loaded.to(device)


@dataclass(frozen=True)
class ClassifyingPath:
    """See the module's docstring. A ForwardPath; labels are classes instead of tokens."""

    model: nn.Module
    pad_id: int
    device: str
    dtype: torch.dtype
    description: str = "padded batches, a classifier's head"

    def collate(self, rows: Sequence[TokenizedRow]) -> PaddedBatch:
        """input_ids and attention_mask (rows, longest); labels (rows,) or (rows, longest)."""
        import torch

        longest = max(len(row.input_ids) for row in rows)
        input_ids = torch.full((len(rows), longest), self.pad_id)
        attention_mask = torch.zeros((len(rows), longest), dtype=torch.long)
        width = max(len(row.labels) for row in rows)
        labels = torch.full((len(rows), width), IGNORED)
        for i, row in enumerate(rows):
            length = len(row.input_ids)
            input_ids[i, :length] = torch.tensor(row.input_ids)
            attention_mask[i, :length] = 1
            labels[i, : len(row.labels)] = torch.tensor(row.labels)
        return PaddedBatch(
            input_ids.to(self.device),
            attention_mask.to(self.device),
            labels.to(self.device),
            tokens=int(attention_mask.sum()),
            supervised=int((labels != IGNORED).sum()),
        )

    def summed_loss(self, batch: PaddedBatch) -> torch.Tensor:
        """Σ −log p(class) over the labelled rows or tokens, a scalar in float32 (nats)."""
        from torch.nn.functional import cross_entropy

        logits = self.logits(batch)
        return cross_entropy(logits, batch.labels.flatten(), ignore_index=IGNORED, reduction="sum")

    def logits(self, batch: PaddedBatch) -> torch.Tensor:
        """(labels in the batch, classes) in float32, in the order of `batch.labels` flattened."""
        import torch

        with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
            logits = self.model(
                input_ids=batch.input_ids, attention_mask=batch.attention_mask
            ).logits
        return logits.float().flatten(0, -2)

    def next_tokens(self, rows: Sequence[TokenizedRow]) -> list[int]:
        raise EngineError("A classifier continues no text.", "Ask for no sample answers.")


def scores_of(path: ForwardPath, rows: Sequence[TokenizedRow], batch_size: int) -> Scores | None:
    """A classifier's accuracy and F1 over `rows`; None for a language model, or no rows."""
    import torch

    if not isinstance(path, ClassifyingPath) or not rows:
        return None
    truth: list[int] = []
    guess: list[int] = []
    path.model.eval()
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            batch = path.collate(rows[start : start + batch_size])
            labels = batch.labels.flatten()
            kept = labels != IGNORED
            truth += labels[kept].tolist()
            guess += path.logits(batch)[kept].argmax(-1).tolist()
    path.model.train()
    return score(truth, guess)


def score(truth: Sequence[int], guess: Sequence[int]) -> Scores:
    """Accuracy, and F1 = 2·TP / (2·TP + FP + FN) averaged over the classes that occur in either.

    The macro F1 of scikit-learn. For tags it counts words, not whole names of several words.
    """
    right = Counter(a for a, b in zip(truth, guess, strict=True) if a == b)
    there, said = Counter(truth), Counter(guess)
    classes = set(there) | set(said)
    f1 = sum(2 * right[name] / (there[name] + said[name]) for name in classes) / len(classes)
    return Scores(accuracy=right.total() / len(truth), f1=f1)
