"""LoRA from scratch: the whole method in one layer, to be read, run and compared with PEFT's."""

import math

import torch
from torch import nn


class LoRALayer(nn.Module):
    """A frozen linear layer and, beside it, an update of low rank that learns."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)  # W stays as it is
        self.A = nn.Parameter(torch.empty(rank, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))  # so the update starts at zero
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.scaling = alpha / rank

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.scaling * (x @ self.A.T) @ self.B.T

    def merged(self) -> torch.Tensor:  # W' = W + (alpha / r) B A
        return self.base.weight + self.scaling * self.B @ self.A
