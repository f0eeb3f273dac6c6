"""What a run trains: an adapter on a frozen base, or weights of the base itself.

The rest of a run sees the promise below and not which of the two it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from lora_engine.errors import EngineError
from lora_engine.training.optimizers.factory import trained_parameters

if TYPE_CHECKING:
    import torch
    from torch import nn

CHAT_TEMPLATE = "chat_template.jinja"  # as transformers names it beside a tokenizer


@dataclass(frozen=True)
class ModuleUpdate:
    """How far a module has moved: ‖ΔW‖_F, and exp(entropy of σ/Σσ) of ΔW's singular values."""

    name: str
    frobenius_norm: float
    effective_rank: float


class TrainedModel(Protocol):
    """model: what trains, with all that is frozen in it. saved_as: the result folder's name."""

    model: nn.Module
    saved_as: Literal["adapter", "model"]

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that a checkpoint must hold of the weights, as contiguous CPU tensors."""

    def restore(self, saved: Mapping[str, torch.Tensor]) -> None:
        """Put a checkpoint's weights back. Raises EngineError where the names do not agree."""

    def save(self, folder: Path, provenance: bytes) -> None:
        """Write the result, whole or not at all."""

    def updates(self) -> list[ModuleUpdate]:
        """How far each adapted module has moved by now; empty where there are none."""


def trained_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """The trained weights as contiguous CPU tensors."""
    return {
        name: parameter.detach().cpu().contiguous().clone()
        for name, parameter in trained_parameters(model).items()
    }


def restore_trained(model: nn.Module, saved: Mapping[str, torch.Tensor]) -> None:
    """Put trained weights back. Raises EngineError where the names do not agree."""
    import torch

    parameters = trained_parameters(model)
    if set(parameters) != set(saved):
        raise EngineError(
            "The checkpoint holds other weights than this run trains.",
            "Start a new run; a resumed run must have the same method.",
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])
