"""What a run trains: an adapter on a frozen base, or weights of the base model itself.

The rest of a run uses the protocol below and does not know which of the two it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.training.optimizers.factory import trained_parameters

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from torch import nn
    from transformers import PreTrainedModel

CHAT_TEMPLATE = "chat_template.jinja"  # as transformers names it beside a tokenizer


@dataclass(frozen=True)
class ModuleUpdate:
    """How far a module has moved from its base weight.

    frobenius_norm: ‖ΔW‖_F. effective_rank: exp(entropy of σ/Σσ) over ΔW's singular values.
    """

    name: str
    frobenius_norm: float
    effective_rank: float


class TrainedModel(Protocol):
    """A model with the weights that train and those that are frozen."""

    @property
    def model(self) -> PeftModel | PreTrainedModel:
        """The module to run, its frozen weights included."""

    @property
    def saved_as(self) -> Literal["adapter", "model"]:
        """What the result is, and the name of its folder."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights that a checkpoint must hold, by name, as contiguous CPU tensors."""

    def restore(self, saved: Mapping[str, torch.Tensor]) -> None:
        """Put a checkpoint's weights back. Raises EngineError where the names differ."""

    def save(self, folder: Path, provenance: bytes) -> None:
        """Write the result and `provenance` into `folder`, complete or not at all."""

    def updates(self) -> list[ModuleUpdate]:
        """How far each adapted module has moved so far; empty where there is no adapter."""


def trained_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """The trained weights as contiguous CPU tensors."""
    return {
        name: parameter.detach().cpu().contiguous().clone()
        for name, parameter in trained_parameters(model).items()
    }


def restore_trained(model: nn.Module, saved: Mapping[str, torch.Tensor]) -> None:
    """Put trained weights back. Raises EngineError where the names differ."""
    import torch

    parameters = trained_parameters(model)
    if set(parameters) != set(saved):
        raise EngineError(
            tr("The checkpoint holds other weights than this run trains."),
            tr("Start a new run; a resumed run must have the same method."),
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])
