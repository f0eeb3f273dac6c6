"""Loads an encoder with a new classification head: a class for each row, or for each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lora_engine.base_models import BaseModel, load_pretrained, refuse_incomplete
from lora_engine.library_imports import import_transformers
from lora_engine.spec import Task

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def load_classifier(
    model: BaseModel, task: Task, labels: Sequence[str], device: str, dtype: torch.dtype
) -> PreTrainedModel:
    """The base model with a new head of one output a class, drawn by torch's generator.

    Raises EngineError as `load_pretrained` does, and where a weight of the body is missing, left
    over or of another shape.
    """
    import_transformers()
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    is_sequence = task == "sequence_classification"
    auto = AutoModelForSequenceClassification if is_sequence else AutoModelForTokenClassification
    loaded, report = load_pretrained(
        auto,
        model,
        device,
        dtype,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    refuse_incomplete(model.name, report, body=loaded.base_model_prefix)
    return loaded
