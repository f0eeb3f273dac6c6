"""Loss scaling around another path, for float16. The losses are the inner path's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.training.forward.around import PathAround
from lora_engine.training.kernels.loss_scale import LossScale

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ScaledPath(PathAround):
    """`inner`, into which gradients come multiplied by `scale`."""

    scale: LossScale

    @property
    def words(self) -> str:
        return "gradients scaled for float16"

    def answered(self, result: torch.Tensor) -> torch.Tensor:
        return self.scale.on_gradient(result)
