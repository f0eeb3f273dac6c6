"""A base model with an adapter on it that is not LoRA: made, restored, and saved.

PEFT's prefix tuning, prompt tuning, P-tuning, IA³, VeRA and LoHa, saved as PEFT saves them, and
bottleneck layers of our own. None changes a weight of the base, so what trains is all there is to
save. Of files it knows only the adapter's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lora_engine.calculator.other_config import other_config
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
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from lora_engine.adapters.bottleneck_layers import Bottleneck


@dataclass(frozen=True)
class OtherModel:
    """A frozen base and an adapter of another method that trains. A TrainedModel.

    chat_template: the Jinja source the rows were written with, empty for none. layers: bottleneck
    layers by the module they stand after; empty where PEFT holds what trains.
    """

    model: PeftModel | PreTrainedModel
    method: MethodSpec
    chat_template: str
    layers: Mapping[str, Bottleneck]
    saved_as: Literal["adapter", "model"] = "adapter"

    def tensors(self) -> dict[str, torch.Tensor]:
        return trained_tensors(self.model)

    def restore(self, saved: Mapping[str, torch.Tensor]) -> None:
        restore_trained(self.model, saved)

    def save(self, folder: Path, provenance: bytes) -> None:
        with atomic_folder(folder) as staging:
            if self.layers:
                self._save_layers(staging)
            else:
                # The base's own embeddings never belong into an adapter file.
                self.model.save_pretrained(str(staging), save_embedding_layers=False)
            (staging / "README.md").unlink(missing_ok=True)
            if self.chat_template:
                (staging / CHAT_TEMPLATE).write_text(self.chat_template, "utf-8")
            (staging / "provenance.json").write_bytes(provenance)

    def _save_layers(self, folder: Path) -> None:
        from lora_engine.adapters.bottleneck_layers import save_bottleneck

        size, activation = self.method.bottleneck_size, self.method.bottleneck_activation
        name = str(getattr(self.model.config, "_name_or_path", ""))
        save_bottleneck(self.layers, folder, name, size, activation)

    def updates(self) -> list[ModuleUpdate]:
        return []


def add_other(
    base: PreTrainedModel,
    method: MethodSpec,
    quantized: bool,
    tokenizer: PreTrainedTokenizerBase,
    chat_template: str = "",
) -> OtherModel:
    """The frozen base with a new adapter of a method that is not LoRA, its weights in float32.

    Raises InvalidInput where a target matches nothing, EngineError where PEFT refuses the method
    on this model, or its layers have no place for a bottleneck.
    """
    from peft import prepare_model_for_kbit_training

    if quantized:
        base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    if method.finetuning_type == "bottleneck":
        from lora_engine.adapters.bottleneck_layers import add_bottleneck

        layers = add_bottleneck(base, method.bottleneck_size, method.bottleneck_activation)
        return OtherModel(base, method, chat_template, layers)
    model = _by_peft(base, method)
    if method.finetuning_type == "prompt" and method.prompt_text is not None:
        start_from_text(model, method.prompt_text, tokenizer)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return OtherModel(model, method, chat_template, {})


def _by_peft(base: PreTrainedModel, method: MethodSpec) -> PeftModel:
    from peft import get_peft_model

    config = other_config(method, base)
    try:
        return get_peft_model(base, config)
    except (ValueError, TypeError, RuntimeError) as error:
        raise EngineError(
            tr(
                "PEFT does not take {finetuning_type} on this base model: {split}",
                finetuning_type=method.finetuning_type,
                split=" ".join(str(error).split())[:300],
            ),
            tr("Change what it names, or choose another method, such as lora."),
        ) from error


def start_from_text(model: PeftModel, text: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Set the virtual tokens to the embeddings of the text's tokens, repeated or cut to fit.

    As PEFT does with `prompt_tuning_init="TEXT"` (Lester et al., arXiv 2104.08691, section 3.2),
    without loading the tokenizer by name a second time. Raises EngineError for a text without
    tokens.
    """
    import torch

    ids = list(tokenizer(text).input_ids)
    if not ids:
        raise EngineError(
            tr("The prompt to start from, {text}, has no tokens.", text=f"{text[:80]!r}"),
            tr("Write some words, or leave it out."),
        )
    base: Any = model.get_base_model()
    words = base.get_input_embeddings()
    (own,) = model.prompt_encoder.parameters()  # (virtual tokens, width)
    repeated = (ids * -(-len(own) // len(ids)))[: len(own)]
    with torch.no_grad():
        own.copy_(words(torch.tensor(repeated, device=own.device)))
