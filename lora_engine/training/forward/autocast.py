"""Mixed precision: 16-bit products while the weights that train stay in float32.

For full fine-tuning and its kin only: the path of an adapter does its own casting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.training.forward.around import PathAround

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class AutocastPath(PathAround):
    """`inner` under torch's autocast to `dtype`."""

    dtype: torch.dtype

    @property
    def words(self) -> str:
        return f"products in {self.dtype}"

    def around(self) -> torch.autocast:
        import torch

        return torch.autocast(next(self.model.parameters()).device.type, self.dtype)

    def around_answers(self) -> torch.autocast:
        return self.around()
