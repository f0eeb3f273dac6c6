"""Loads an encoder with a new classification head: a class for each row, or for each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lora_engine.base_models import BaseModel, refuse_stored_quantization
from lora_engine.errors import EngineError
from lora_engine.library_imports import import_transformers
from lora_engine.spec import Task

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def load_classifier(
    model: BaseModel, task: Task, labels: Sequence[str], device: str, dtype: torch.dtype
) -> PreTrainedModel:
    """The base model with a new head of one output a class, drawn by torch's generator.

    Raises EngineError where transformers has no such head for the base model, its stored weights
    are quantized already, or files are missing.
    """
    refuse_stored_quantization(model.name, model.path)
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
