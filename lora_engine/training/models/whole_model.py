"""Full fine-tuning: the base model's own weights train, all of them or those of its last layers.

The weights that train are float32, whatever precision the frozen ones have. The result is a whole
model in the run's precision, as `from_pretrained` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lora_engine.base_models.layer_list import layers_of
from lora_engine.errors import EngineError
from lora_engine.files import atomic_folder
from lora_engine.language import tr
from lora_engine.spec import MethodSpec
from lora_engine.training.models.trained_model import (
    CHAT_TEMPLATE,
    ModuleUpdate,
    restore_trained,
    trained_tensors,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class WholeModel:
    """The base model, some or all of its weights training. A TrainedModel.

    dtype: of the saved weights. chat_template: the template the rows were written with, empty for
    none; a base model that has no template of its own is saved with it.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    dtype: torch.dtype
    chat_template: str = ""
    saved_as: Literal["adapter", "model"] = "model"

    def tensors(self) -> dict[str, torch.Tensor]:
        return trained_tensors(self.model)

    def restore(self, saved: Mapping[str, torch.Tensor]) -> None:
        restore_trained(self.model, saved)

    def save(self, folder: Path, provenance: bytes) -> None:
        with atomic_folder(folder) as staging:
            weights = {name: t.to(self.dtype) for name, t in self.model.state_dict().items()}
            self.model.save_pretrained(staging, state_dict=weights)
            self.tokenizer.save_pretrained(staging)
            if self.chat_template and not self.tokenizer.chat_template:
                (staging / CHAT_TEMPLATE).write_text(self.chat_template, "utf-8")
            (staging / "provenance.json").write_bytes(provenance)

    def updates(self) -> list[ModuleUpdate]:
        return []


def make_trainable(base: PreTrainedModel, method: MethodSpec) -> PreTrainedModel:
    """The base with what the method trains in float32 and the rest frozen.

    Raises EngineError where `freeze` asks for more layers than there are, or there is no list of
    layers.
    """
    base.requires_grad_(method.finetuning_type != "freeze")
    if method.finetuning_type == "freeze":
        layers = list(layers_of(base).values())
        if method.freeze_layers > len(layers):
            raise EngineError(
                tr(
                    "The base model has {count} layers, fewer than the last {freeze_layers} "
                    "that freeze should train.",
                    count=len(layers),
                    freeze_layers=method.freeze_layers,
                ),
                tr("Set the layers that freeze trains to {count} or fewer.", count=len(layers)),
            )
        for layer in layers[-method.freeze_layers :]:
            layer.requires_grad_(True)
    for parameter in base.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return base
