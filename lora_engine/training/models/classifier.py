"""Loads an encoder with a classification head: a class for each row, or for each token.

The head is a new one, or the one that a run saved with its adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lora_engine.adapters import AdapterCheck
from lora_engine.adapters.lora_config import TASK_TYPES
from lora_engine.base_models import BaseModel, load_pretrained, refuse_incomplete
from lora_engine.library_imports import import_peft, import_transformers
from lora_engine.spec import QuantizationSpec, Task
from lora_engine.training.models.starting_weights import load_starting_weights

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel


def load_classifier(
    model: BaseModel,
    task: Task,
    labels: Sequence[str],
    device: str,
    dtype: torch.dtype,
    quantization: QuantizationSpec | None = None,
) -> PreTrainedModel:
    """The base model with a new head of one output a class, drawn by torch's generator.

    A base that is a classifier of as many classes keeps its head. quantization: of the encoder; the
    head stays numbers.
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
        quantization,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    refuse_incomplete(model.name, report, body=loaded.base_model_prefix)
    return loaded


def load_trained_classifier(
    model: BaseModel,
    labels: Sequence[str],
    adapter: AdapterCheck,
    device: str,
    dtype: torch.dtype,
    quantization: QuantizationSpec | None = None,
) -> PeftModel:
    """The base model with the adapter and the head that a run saved, of the adapter's own task.

    labels: the classes in the order of the head's outputs. Raises EngineError as
    `load_classifier`, and as `load_starting_weights` where the adapter has no whole head.
    """
    import_peft()
    from peft import get_peft_model

    task = next(name for name, kind in TASK_TYPES.items() if kind == adapter.config.task_type)
    base = load_classifier(model, task, labels, device, dtype, quantization)
    config = adapter.config.to_peft(adapter.modules)
    config.task_type, config.bias = adapter.config.task_type, adapter.config.bias
    trained = get_peft_model(base, config)
    load_starting_weights(trained, adapter)
    return trained
