"""Fused LoRA linear layers: all that read one input x as one autograd function.

    y_i = x W_iᵀ + b_i + s_i (d_i(x) A_iᵀ) B_iᵀ        Hu et al. 2021, arXiv 2106.09685

    x (tokens, in), W (out, in), A (rank, in), B (out, rank); d_i: dropout of layer i, or nothing

Why it is faster than PEFT's forward under autograd:

- Saved for the backward pass are x (once for all layers), the thin d(x) Aᵀ and, with dropout, a
  mask of one byte a number. W is frozen and gets no gradient work.
- Layers that share x (query, key and value; gate and up) share one product with all their A.
- The gradient of x is summed in place over the layers.
- A 4-bit W is dequantized for each product and freed, so only one dense W exists at a time.

`install` replaces the forward of PEFT's `lora.Linear` and `lora.Linear4bit` modules where they are
plain LoRA. DoRA and other variants, and 8-bit or trained base weights, keep PEFT's forward.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from lora_engine.training.kernels.matmul import add_product, linear, product

if TYPE_CHECKING:
    from peft.tuners.lora import Linear as LoraLinear
    from torch import nn


@dataclass(frozen=True)
class LayerTensors:
    """The tensors of one adapted layer.

    dtype: of the products. dropout: the probability that a number of x does not reach the adapter;
    0 outside training. token_scaling: multiplies x Aᵀ besides; 0 where a token is not for a rank.
    """

    weight: torch.Tensor  # (out, in), or packed in 4 bits
    bias: torch.Tensor | None  # (out,)
    lora_a: torch.Tensor  # (rank, in)
    lora_b: torch.Tensor  # (out, rank)
    scaling: float
    dtype: torch.dtype
    dropout: float = 0.0
    token_scaling: torch.Tensor | None = None  # (tokens, rank)

    def scaled(self, inner: torch.Tensor) -> torch.Tensor:
        """inner · token_scaling, in place. inner (tokens, rank)."""
        return inner if self.token_scaling is None else inner.mul_(self.token_scaling)

    def draw_kept(
        self, x: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor | None:
        """The mask of the numbers of x that dropout keeps, of x's shape; None without dropout.

        It draws as torch's own dropout does, so that both give the same losses from one seed.
        generator: torch's own where None.
        """
        if self.dropout == 0:
            return None
        return torch.empty_like(x).bernoulli_(1 - self.dropout, generator=generator).bool()

    def dropped(self, x: torch.Tensor, kept: torch.Tensor | None) -> torch.Tensor:
        """x · kept / (1 − dropout). Its backward pass is the same function of the gradient."""
        return x if kept is None else (x * kept).div_(1 - self.dropout)

    def dense(self) -> torch.Tensor:
        """The weight (out, in), dequantized to `dtype` where it is stored in 4 bits."""
        return dense_weight(self.weight, self.dtype)


def dense_weight(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The weight (out, in), dequantized to `dtype` where it is stored in 4 bits."""
    state = getattr(weight, "quant_state", None)
    if state is None:
        return weight
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight, state).to(dtype)


class AdaptedLinears(torch.autograd.Function):
    """The module's formula. Products are in the layers' dtype, results in the dtype of x.

    x (…, in). frozen: the layers, for all that gets no gradient. trained: lora_a and lora_b of
    each layer in turn, passed by themselves because autograd tracks direct arguments only.
    """

    @staticmethod
    def forward(ctx, x, frozen, *trained):
        flat = x.reshape(-1, x.shape[-1]).to(frozen[0].dtype)  # (tokens, in)
        kept = [layer.draw_kept(flat) for layer in frozen]
        outputs = [linear(flat, layer.dense(), layer.bias) for layer in frozen]  # (tokens, out)
        inner = add_adapters(outputs, flat, frozen, kept, trained)
        ctx.save_for_backward(flat, inner, *kept, *trained)
        ctx.frozen, ctx.x = frozen, (x.dtype, x.shape)
        # No views to autograd, which lets nobody change one in place, as Llama 4's experts do.
        shapes = ([*x.shape[:-1], y.shape[-1]] for y in outputs)
        return tuple(
            torch.ops.aten._unsafe_view(y.to(x.dtype), shape)
            for y, shape in zip(outputs, shapes, strict=True)
        )

    @staticmethod
    def backward(ctx, *grads):
        layers = ctx.frozen
        flat, inner, *others = ctx.saved_tensors
        kept, trained = others[: len(layers)], others[len(layers) :]
        gs = [g.reshape(-1, g.shape[-1]).to(flat.dtype) for g in grads]  # (tokens, out)
        g_inners, d_trained = adapter_gradients(flat, inner, gs, layers, kept, trained)
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = gradient_through_adapters(g_inners, trained, layers, kept)  # (tokens, in)
            for g, layer in zip(gs, layers, strict=True):
                add_product(d_x, g, layer.dense())
            d_x = d_x.to(ctx.x[0]).view(ctx.x[1])
        return d_x, None, *d_trained


Kept = Sequence[torch.Tensor | None]  # the dropout mask of each layer, (tokens, in)
Trained = Sequence[torch.Tensor]  # A (rank, in) and B (out, rank) of each layer in turn


def add_adapters(
    outputs: Sequence[torch.Tensor],
    flat: torch.Tensor,
    layers: Sequence[LayerTensors],
    kept: Kept,
    trained: Trained,
) -> torch.Tensor:
    """y_i += s_i (d_i(x) A_iᵀ) B_iᵀ, in place. flat: x (tokens, in); outputs (tokens, out) each.

    Returns d_i(x) A_iᵀ side by side, (tokens, sum of ranks), with the token scaling.
    """
    every_a, every_b = [a.to(flat.dtype) for a in trained[0::2]], trained[1::2]
    inner = _inner(flat, every_a, layers, kept)
    ranks = [a.shape[0] for a in every_a]
    for y, own, b, layer in zip(outputs, inner.split(ranks, 1), every_b, layers, strict=True):
        y.addmm_(layer.scaled(own), b.to(flat.dtype).T, alpha=layer.scaling)
    return inner


def adapter_gradients(
    flat: torch.Tensor,
    inner: torch.Tensor,
    gs: Sequence[torch.Tensor],
    layers: Sequence[LayerTensors],
    kept: Kept,
    trained: Trained,
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """s (g B) of each layer, (tokens, rank), and the gradients of A and B of each in turn.

    With g = ∂L/∂y, (tokens, out): dA = s (g B)ᵀ d(x), dB = s gᵀ (d(x) Aᵀ).
    """
    every_b = trained[1::2]
    g_inners = [
        layer.scaled(product(g, b.to(g.dtype)).mul_(layer.scaling))
        for g, b, layer in zip(gs, every_b, layers, strict=True)
    ]
    d_as = [d.to(every_b[0].dtype) for d in _d_as(flat, g_inners, layers, kept)]
    # each (out, rank), as the transpose of the product whose rows are the few ranks
    d_bs = [
        product(own.T, g).to(every_b[0].dtype).mul_(layer.scaling).T
        for own, g, layer in zip(
            inner.split([b.shape[1] for b in every_b], 1), gs, layers, strict=True
        )
    ]
    return g_inners, [d for pair in zip(d_as, d_bs, strict=True) for d in pair]


def gradient_through_adapters(
    g_inners: list[torch.Tensor], trained: Trained, layers: Sequence[LayerTensors], kept: Kept
) -> torch.Tensor:
    """Σ d_i(s_i (g_i B_i) A_i), what of the gradient of x comes through adapters, (tokens, in).

    The gradient of x is this and Σ g_i W_i.
    """
    every_a = [a.to(g_inners[0].dtype) for a in trained[0::2]]
    if not any(layer.dropout for layer in layers):
        return product(torch.cat(g_inners, 1), torch.cat(every_a))
    parts = zip(g_inners, every_a, layers, kept, strict=True)
    first, *others = (layer.dropped(product(g, a), k) for g, a, layer, k in parts)
    return sum(others, first)


def _inner(
    flat: torch.Tensor, every_a: list[torch.Tensor], layers: Sequence[LayerTensors], kept: Kept
) -> torch.Tensor:
    """d_i(x) A_iᵀ side by side, (tokens, sum of ranks): one product where nothing is dropped."""
    if not any(layer.dropout for layer in layers):
        return linear(flat, torch.cat(every_a))
    parts = zip(every_a, layers, kept, strict=True)
    return torch.cat([linear(layer.dropped(flat, k), a) for a, layer, k in parts], 1)


def _d_as(
    flat: torch.Tensor,
    g_inners: list[torch.Tensor],
    layers: Sequence[LayerTensors],
    kept: Kept,
) -> Sequence[torch.Tensor]:
    """s (g B)ᵀ d(x) of each layer, (rank, in). flat (tokens, in), g_inners (tokens, rank) each."""
    if not any(layer.dropout for layer in layers):
        ranks = [g.shape[1] for g in g_inners]
        return product(torch.cat(g_inners, 1).T, flat).split(ranks)
    parts = zip(g_inners, layers, kept, strict=True)
    return [product(g.T, layer.dropped(flat, k)) for g, layer, k in parts]


def adapted_linears(x: torch.Tensor, *layers: LayerTensors) -> tuple[torch.Tensor, ...]:
    """The outputs of the layers on x (…, in), each (…, out)."""
    trained = [tensor for layer in layers for tensor in (layer.lora_a, layer.lora_b)]
    return AdaptedLinears.apply(x, layers, *trained)


def install(model: nn.Module) -> tuple[int, int]:
    """Give every plain LoRA linear of `model` the fused forward.

    Returns how many got it, and how many adapted layers keep PEFT's forward.
    """
    from peft.tuners.lora import LoraLayer

    fused = left = 0
    for module in model.modules():
        if isinstance(module, LoraLayer):
            if is_plain_lora(module):
                module.forward = types.MethodType(_forward, module)
                fused += 1
            else:
                left += 1
    return fused, left


def is_plain_lora(module: Any) -> bool:
    """Whether a module is PEFT's and computes the formula above and nothing else."""
    from peft.tuners.lora import Linear as LoraLinear
    from transformers.pytorch_utils import Conv1D

    in_4_bits = _is_4_bit(module)
    if not (in_4_bits or type(module) is LoraLinear) or len(module.active_adapters) != 1:
        return False
    (name,) = module.active_adapters
    base = module.get_base_layer()
    is_whole = type(base) in (torch.nn.Linear, Conv1D) and base.weight.is_floating_point()
    return (
        name in module.lora_A
        and (in_4_bits or is_whole)
        and not any(parameter.requires_grad for parameter in base.parameters())
        and name not in module.lora_variant
        and not module.lora_bias[name]
        and type(module.lora_dropout[name]) in (torch.nn.Identity, torch.nn.Dropout)
        and not module.merged
        and not module.disable_adapters
    )


def _is_4_bit(module: nn.Module) -> bool:
    # By name: peft has the class only where bitsandbytes is installed.
    kind = type(module)
    return (kind.__module__, kind.__name__) == ("peft.tuners.lora.bnb", "Linear4bit")


def layer_tensors(module: Any) -> LayerTensors:
    """The tensors of a module that `is_plain_lora`, as they are now; scaled by 0 while PEFT has
    its adapter switched off."""
    (name,) = module.active_adapters
    base = module.get_base_layer()
    a, b = module.lora_A[name].weight, module.lora_B[name].weight
    dropout = getattr(module.lora_dropout[name], "p", 0.0) if module.training else 0.0
    scaling = 0.0 if module.disable_adapters else module.scaling[name]
    if _is_4_bit(module):
        dtype = base.compute_dtype or a.dtype
        bias = None if base.bias is None else base.bias.to(dtype)
        return LayerTensors(base.weight, bias, a, b, scaling, dtype, dropout)
    weight = base.weight.T if module.fan_in_fan_out else base.weight
    return LayerTensors(weight, base.bias, a, b, scaling, weight.dtype, dropout)


def _forward(self: LoraLinear, x: torch.Tensor) -> torch.Tensor:
    return adapted_linears(x, layer_tensors(self))[0]
