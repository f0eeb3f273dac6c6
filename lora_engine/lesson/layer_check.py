"""The from-scratch layer beside PEFT's: the same factors, the same steps, how far they part.

Its source is read from the file, so that what is shown is what runs. Knows no page.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_engine.library_imports import import_peft

if TYPE_CHECKING:
    import torch
    from torch import nn

SOURCE = Path(__file__).with_name("lora_layer.py")
INPUTS, OUTPUTS, RANK, ALPHA = 64, 48, 4, 8
ROWS, STEPS, LEARNING_RATE = 32, 50, 1.0


@dataclass(frozen=True)
class LayerCheck:
    """What the two layers computed, in float32. A difference is the largest of any number.

    losses: before the first step and after each, of the from-scratch layer and of PEFT's.
    """

    trained_parameters: int
    frozen_parameters: int
    start_difference: float
    output_difference: float
    merged_difference: float
    losses: tuple[float, ...]
    peft_losses: tuple[float, ...]


def layer_source() -> str:
    """The Python of the from-scratch layer."""
    return SOURCE.read_text("utf-8")


def compare_with_peft(seed: int = 0) -> LayerCheck:
    """Train the from-scratch layer and PEFT's from the same A and B on the same rows.

    start_difference is between the from-scratch layer and its base before any step: B is zero.
    """
    import_peft()
    import torch
    from peft import LoraConfig, get_peft_model
    from torch import nn

    from lora_engine.lesson.lora_layer import LoRALayer

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        base, x, y = nn.Linear(INPUTS, OUTPUTS), torch.randn(ROWS, INPUTS), torch.randn(OUTPUTS)
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["0"])
        theirs = get_peft_model(nn.Sequential(copy.deepcopy(base)), config)
        ours = LoRALayer(base, RANK, ALPHA)
    wrapped: Any = theirs.base_model.model
    layer = wrapped[0]
    factors = (layer.lora_A["default"].weight, layer.lora_B["default"].weight)
    factors[0].data.copy_(ours.A.data)
    with torch.no_grad():
        start_difference = _difference(ours(x), base(x))
    losses = _trained(ours, (ours.A, ours.B), x, y)
    peft_losses = _trained(theirs, factors, x, y)
    with torch.no_grad():
        output_difference = _difference(ours(x), theirs(x))
        merged_difference = _difference(
            ours.merged(), layer.weight + layer.get_delta_weight("default")
        )
    return LayerCheck(
        trained_parameters=ours.A.numel() + ours.B.numel(),
        frozen_parameters=base.weight.numel(),
        start_difference=start_difference,
        output_difference=output_difference,
        merged_difference=merged_difference,
        losses=losses,
        peft_losses=peft_losses,
    )


def _trained(
    model: nn.Module, factors: Sequence[torch.Tensor], x: torch.Tensor, y: torch.Tensor
) -> tuple[float, ...]:
    """Plain gradient descent on the mean squared error; the losses on the way."""
    losses = []
    for _ in range(STEPS):
        loss = ((model(x) - y) ** 2).mean()
        losses.append(loss.item())
        loss.backward()
        for factor in factors:
            assert factor.grad is not None
            factor.data -= LEARNING_RATE * factor.grad
            factor.grad = None
    return (*losses, ((model(x) - y) ** 2).mean().item())


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a - b).abs().max().item()
