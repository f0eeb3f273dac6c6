"""Fused decoder layers: RMSNorm, SwiGLU MLP and rotary attention with hand-written gradients.

Llama, Mistral, Qwen 2 and Qwen 3 share these modules. Where their linear layers are plain LoRA,
the modules get forwards that compute the same with fewer passes over memory: query, key and value
(gate and up) are one autograd function, and norm, rotary embedding and SwiGLU save only their
inputs for the backward pass, where autograd would save every intermediate. Classes are recognized
by name; every other model keeps the forwards that transformers gave it.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.nn.functional import silu

from lora_engine.base_models.families import ATTENTIONS, MLPS, NORMS
from lora_engine.training.kernels.fused_linear import (
    adapted_linears,
    is_plain_lora,
    layer_tensors,
)

if TYPE_CHECKING:
    from torch import nn


class RMSNorm(torch.autograd.Function):
    """y = w · x / √(mean(x²) + ε), the mean over the last dimension; w is frozen.

    x (…, size), weight (size,). Zhang and Sennrich 2019, arXiv 1910.07467. Saved for the backward
    pass: x and r = 1/√(mean(x²) + ε), which has one number a token.
    """

    @staticmethod
    def forward(ctx, x, weight, epsilon):
        wide = x.float()
        # The norm squared: a sum of squares without a tensor of squares.
        mean_square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_()
        rstd = mean_square.div_(x.shape[-1]).add_(epsilon).rsqrt_()  # (…, 1)
        ctx.save_for_backward(x, rstd, weight)
        return (wide * rstd).mul_(weight).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        """With g = w · ∂L/∂y: ∂L/∂x = r (g − x r² mean(g x))."""
        x, rstd, weight = ctx.saved_tensors
        g = grad.float() * weight
        wide = x.float()
        mean = (g * wide).mean(-1, keepdim=True).mul_(rstd.square())  # (…, 1)
        return g.addcmul_(wide, mean, value=-1).mul_(rstd).to(x.dtype), None, None


class SwiGLU(torch.autograd.Function):
    """y = silu(gate) · up, all of one shape (…, intermediate_size). Shazeer 2020, arXiv 2002.05202.

    Saved for the backward pass: gate and up. silu(gate) is computed again there, which is cheaper
    than to keep it.
    """

    @staticmethod
    def forward(ctx, gate, up):
        ctx.save_for_backward(gate, up)
        return silu(gate).mul_(up)

    @staticmethod
    def backward(ctx, grad):
        gate, up = ctx.saved_tensors
        d_up = silu(gate).mul_(grad)
        return torch.ops.aten.silu_backward(grad * up, gate), d_up


class Rotary(torch.autograd.Function):
    """Rotary position embedding: rotates each pair (i, i + head_dim/2) of x by its angle.

    x (…, tokens, heads, head_dim); cos, sin (…, tokens, 1, head_dim). Su et al. 2021, arXiv
    2104.09864. The gradient is the rotation by the negative angle, so nothing of x is saved.
    """

    @staticmethod
    def forward(ctx, x, cos, sin):
        ctx.save_for_backward(cos, sin)
        return rotate(x, cos, sin, 1)

    @staticmethod
    def backward(ctx, grad):
        cos, sin = ctx.saved_tensors
        return rotate(grad, cos, sin, -1), None, None


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, sign: int) -> torch.Tensor:
    """x · cos + sign · rotate_half(x) · sin, of x's shape (…, tokens, heads, head_dim).

    rotate_half (x₁, x₂) ↦ (−x₂, x₁) is never made as a tensor: its halves are added in place. The
    two halves of cos are equal, and so are those of sin.
    """
    half = x.shape[-1] // 2
    rotated = x * cos
    rotated[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-sign)
    rotated[..., half:].addcmul_(x[..., :half], sin[..., half:], value=sign)
    return rotated


class LayerLinears(Protocol):
    """How the linear layers that read one input are computed."""

    def fit(self, *modules: Any) -> bool:
        """Whether `outputs` can compute these."""

    def outputs(self, x: torch.Tensor, *modules: Any) -> tuple[torch.Tensor, ...]:
        """The outputs of the modules on x (…, in), each (…, out)."""


class PlainLora:
    """Each under the one adapter that it has. LayerLinears."""

    def fit(self, *modules: Any) -> bool:
        return all(map(is_plain_lora, modules))

    def outputs(self, x: torch.Tensor, *modules: Any) -> tuple[torch.Tensor, ...]:
        return adapted_linears(x, *map(layer_tensors, modules))


def install(model: nn.Module, linears: LayerLinears | None = None) -> int:
    """Give the modules that fit their fused forwards. Returns how many got one.

    linears: for query, key and value, and for gate and up; PlainLora where None.
    """
    count = 0
    for module in list(model.modules()):
        fused = _fused_forward(module, linears or PlainLora())
        if fused is not None:
            module.forward = types.MethodType(fused, module)
            count += 1
    return count


def _fused_forward(module: Any, linears: LayerLinears) -> Callable[..., Any] | None:
    """The fused forward for a module, None where it must keep its own."""
    name = type(module).__name__
    if not type(module).__module__.startswith("transformers.models."):
        return None
    if name in NORMS:
        return None if module.weight.requires_grad else _norm_forward
    if name in MLPS:
        fits = linears.fit(module.gate_proj, module.up_proj)
        is_silu = type(module.act_fn).__name__.startswith("SiLU")
        return partial(_mlp_forward, linears) if fits and is_silu else None
    if name in ATTENTIONS:
        fits = linears.fit(module.q_proj, module.k_proj, module.v_proj)
        return partial(_attention_forward, linears) if fits else None
    return None


def _norm_forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
    return RMSNorm.apply(hidden_states, self.weight, self.variance_epsilon)


def _mlp_forward(linears: LayerLinears, self, x: torch.Tensor) -> torch.Tensor:
    # x (rows, tokens, hidden_size); gate, up (rows, tokens, intermediate_size)
    gate, up = linears.outputs(x, self.gate_proj, self.up_proj)
    return self.down_proj(SwiGLU.apply(gate, up))


def _attention_forward(
    linears: LayerLinears,
    self,
    hidden_states: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    attention_mask: torch.Tensor | None = None,
    past_key_values=None,
    outputs_at: torch.Tensor | None = None,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """As the model's own.

    hidden_states (rows, tokens, hidden_size); position_embeddings: cos and sin, (rows, tokens,
    head_dim) each. outputs_at: the positions whose outputs are asked for; all where None.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    by_head = (*hidden_states.shape[:-1], -1, self.head_dim)
    states = linears.outputs(hidden_states, self.q_proj, self.k_proj, self.v_proj)
    query, key, value = (state.view(by_head) for state in states)  # (rows, tokens, heads, head_dim)
    if hasattr(self, "q_norm"):  # Qwen 3 normalizes each head
        query, key = self.q_norm(query), self.k_norm(key)
    cos, sin = (table.unsqueeze(2) for table in position_embeddings)  # (rows, tokens, 1, head_dim)
    query, key = Rotary.apply(query, cos, sin), Rotary.apply(key, cos, sin)
    query, key, value = (states.transpose(1, 2) for states in (query, key, value))
    if past_key_values is not None:  # answers that the model samples while it trains
        key, value = past_key_values.update(key, value, self.layer_idx)
    attend = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
    output, weights = attend(
        self,
        query,
        key,
        value,
        attention_mask,
        dropout=self.attention_dropout if self.training else 0.0,
        scaling=self.scaling,
        sliding_window=_window(self),
        **kwargs,
    )
    output = output.reshape(*hidden_states.shape[:-1], -1)
    if outputs_at is not None:
        output = output.index_select(1, outputs_at)
    return self.o_proj(output), weights


def _window(self) -> int | None:
    """The attention's sliding window, where its family has one."""
    if type(self).__name__ == "MistralAttention":
        return getattr(self.config, "sliding_window", None)
    return getattr(self, "sliding_window", None)
