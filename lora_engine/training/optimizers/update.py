"""One update of the weights: clipped gradients that are finite, then the optimizer's step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.training.kernels.loss_scale import LossScale

if TYPE_CHECKING:
    import torch


class NonFiniteLoss(EngineError):
    """The loss or the gradient is no longer finite; the weights are those before the step."""


def parameters_of(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    """The weights that train, in the optimizer's order."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def update(
    optimizer: torch.optim.Optimizer,
    loss: float,
    max_grad_norm: float,
    step: int,
    scale: LossScale | None = None,
) -> float:
    """Clip the gradients, update the weights, and clear the gradients.

    Returns the gradient norm before clipping, 0 where the step was skipped. max_grad_norm: 0
    measures it and clips nothing. scale: of the gradients, in float16; a step whose gradients it
    made overflow is skipped.
    Raises NonFiniteLoss at a loss or gradient that is not finite, before it reaches the weights.
    """
    import torch

    if scale is not None:
        scale.unscale(parameters_of(optimizer))
    limit = max_grad_norm if max_grad_norm > 0 else math.inf
    grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters_of(optimizer), limit))
    overflowed = math.isfinite(loss) and not math.isfinite(grad_norm)
    if overflowed and scale is not None and scale.may_skip():
        optimizer.zero_grad(set_to_none=True)
        scale.after_skip()
        return 0.0
    if not math.isfinite(loss) or not math.isfinite(grad_norm):
        optimizer.zero_grad(set_to_none=True)
        raise NonFiniteLoss(
            tr(
                "The loss stopped being a number at step {step}; training was stopped there."
                if not math.isfinite(loss)
                else "The gradient stopped being a number at step {step}; training was stopped "
                "there.",
                step=step,
            ),
            tr("The adapter of the step before is kept. Try a learning rate ten times smaller."),
        )
    optimizer.step()
    if scale is not None:
        scale.after_step()
    optimizer.zero_grad(set_to_none=True)
    return grad_norm
