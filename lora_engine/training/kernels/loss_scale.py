"""Dynamic loss scaling, for float16: gradients are multiplied on their way back, and divided at
the end, so that the small ones do not vanish in 16 bits.

float16 has no number below 6e-8. A loss is unchanged; its gradient is multiplied by the scale
before it enters the model. Where a gradient overflows, the step is skipped and the scale halved;
after GROW_AFTER steps without one it is doubled. The constants are those of torch's GradScaler.
Micikevicius et al. 2018, arXiv 1710.03740.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

START = 65_536.0
LEAST = 1.0  # an overflow at this scale is the model's own
GROW_AFTER = 2_000
NAME = "loss_scale"


@dataclass
class LossScale:
    """The scale, the steps since it last changed, and how many steps were skipped."""

    value: float = START
    steady_steps: int = 0
    skipped_steps: int = 0

    def on_gradient(self, result: torch.Tensor) -> torch.Tensor:
        """`result` itself, whose gradient is multiplied by the scale of the backward pass."""
        if result.requires_grad:
            result.register_hook(lambda gradient: gradient * self.value)
        return result

    def unscale(self, parameters: Sequence[nn.Parameter]) -> None:
        """Divide the gradients by the scale, in place."""
        import torch

        gradients = [p.grad for p in parameters if p.grad is not None]
        torch._foreach_div_(gradients, self.value)

    def may_skip(self) -> bool:
        """Whether a gradient that is not finite can come of the scale."""
        return self.value > LEAST

    def after_skip(self) -> None:
        self.value, self.steady_steps = max(LEAST, self.value / 2), 0
        self.skipped_steps += 1

    def after_step(self) -> None:
        self.steady_steps += 1
        if self.steady_steps == GROW_AFTER:
            self.value, self.steady_steps = 2 * self.value, 0

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state as a checkpoint has it, beside the optimizer's."""
        import torch

        state = [self.value, self.steady_steps, self.skipped_steps]
        return {NAME: torch.tensor(state, dtype=torch.float64)}

    def restore(self, saved: Mapping[str, torch.Tensor]) -> None:
        """Put back what `tensors` returned; nothing where the checkpoint has none."""
        if NAME in saved:
            value, steady, skipped = saved[NAME].tolist()
            self.value, self.steady_steps, self.skipped_steps = value, int(steady), int(skipped)
