"""GaLore: AdamW whose moments live in a low-rank subspace of each matrix's gradient.

For a weight W (m, n) with gradient G, m ≤ n (else transposed), every T steps

    G = U S Vᵀ,  P = U[:, :r]  (m, r)

In each step R = Pᵀ G (r, n) takes the place of G in Adam, whose normalized gradient N (r, n) is
projected back: W ← W − η · scale · P N. Zhao et al. 2024, arXiv 2403.03507, algorithm 2. The
moments stay when the subspace changes, as in the authors' own code. Vectors get plain AdamW.
"""

from __future__ import annotations

import math
from typing import Any

import torch


class GaLoreAdamW(torch.optim.Optimizer):
    """AdamW that projects the parameter groups with a `rank`, an `update_every` and a `scale`.

    update_every: steps after which the subspace is computed anew (the paper's T).
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # takes no closure
        """One step over every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(
        self, parameter: torch.Tensor, raw_gradient: torch.Tensor, group: dict[str, Any]
    ) -> None:
        state = self.state[parameter]
        state["step"] = state.get("step", 0) + 1
        gradient = raw_gradient.float()
        if "rank" not in group or min(gradient.shape) <= group["rank"]:
            direction = _adam(state, gradient, group)
        else:
            direction = group["scale"] * self._in_subspace(state, gradient, group)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(direction.to(parameter.dtype), alpha=-group["lr"])

    def _in_subspace(self, state: dict, gradient: torch.Tensor, group: dict) -> torch.Tensor:
        """P N, in the weight's own orientation (m, n)."""
        wide = gradient if gradient.shape[0] <= gradient.shape[1] else gradient.T
        if (state["step"] - 1) % group["update_every"] == 0:
            state["projector"] = torch.linalg.svd(wide, full_matrices=False)[0][
                :, : group["rank"]
            ].contiguous()
        projector = state["projector"]  # (m, r)
        normalized = projector @ _adam(state, projector.T @ wide, group)  # (m, n)
        return normalized if wide is gradient else normalized.T


def _adam(state: dict, gradient: torch.Tensor, group: dict) -> torch.Tensor:
    """Adam's m̂ / (√v̂ + ε), of the gradient's shape; its two moments are kept in the state."""
    if "exp_avg" not in state:
        state["exp_avg"] = torch.zeros_like(gradient)
        state["exp_avg_sq"] = torch.zeros_like(gradient)
    beta1, beta2 = group["betas"]
    mean = state["exp_avg"].lerp_(gradient, 1 - beta1)
    square = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    corrected = square.sqrt().div_(math.sqrt(1 - beta2 ** state["step"])).add_(group["eps"])
    return mean / corrected / (1 - beta1 ** state["step"])
