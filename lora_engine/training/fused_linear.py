"""Adapted linear layers on one input as one autograd function.

    y_i = x W_iᵀ + b_i + s_i (x A_iᵀ) B_iᵀ

    x (tokens, in), W (out, in), A (rank, in), B (out, rank)

Saved for the backward pass are x and the thin x Aᵀ only; W gets no gradient work. Layers that
read the same x (query, key and value; gate and up) share one product with all the A, and the
gradient of x is summed in place. A 4-bit W is unpacked for each product and let go. It takes over
the forward of PEFT's own `lora.Linear` and `lora.Linear4bit` modules, one by one, where they are
plain LoRA; dropout, DoRA and other variants, 8-bit or trained base weights stay with PEFT's
forward.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lora_engine.training.products import add_product, linear, product

if TYPE_CHECKING:
    from peft.tuners.lora import Linear as LoraLinear
    from torch import nn


@dataclass(frozen=True)
class Layer:
    """One adapted layer. weight (out, in), or packed in 4 bits; lora_a (rank, in), lora_b
    (out, rank). dtype: of the products."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    lora_a: torch.Tensor
    lora_b: torch.Tensor
    scaling: float
    dtype: torch.dtype

    def dense(self) -> torch.Tensor:
        """The weight (out, in) in `dtype`, unpacked where it is stored in 4 bits."""
        state = getattr(self.weight, "quant_state", None)
        if state is None:
            return self.weight
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(self.weight, state).to(self.dtype)


class AdaptedLinears(torch.autograd.Function):
    """See the module's docstring. Products are in the layers' dtype, results in x's.

    frozen: the layers, for what gets no gradient; trained: lora_a, lora_b of each, in order.
    """

    @staticmethod
    def forward(ctx, x, frozen, *trained):
        dtype = frozen[0].dtype
        flat = x.reshape(-1, x.shape[-1]).to(dtype)  # (tokens, in)
        every_a = torch.cat(trained[0::2]).to(dtype)  # (sum of ranks, in)
        inner = linear(flat, every_a)  # (tokens, sum of ranks)
        results = []
        ranks = [a.shape[0] for a in trained[0::2]]
        for layer, b, own in zip(frozen, trained[1::2], inner.split(ranks, 1), strict=True):
            y = linear(flat, layer.dense(), layer.bias)
            y.addmm_(own, b.to(dtype).T, alpha=layer.scaling)
            results.append(y.to(x.dtype).view(*x.shape[:-1], -1))
        ctx.save_for_backward(flat, inner, every_a, *trained[1::2])
        ctx.frozen, ctx.ranks, ctx.x = frozen, ranks, (x.dtype, x.shape)
        return tuple(results)

    @staticmethod
    def backward(ctx, *grads):
        """With g_i = ∂L/∂y_i, summed over i where x is meant:

        dx = g W + s (g B) A,  dA = s (g B)ᵀ x,  dB = s gᵀ (x Aᵀ)
        """
        flat, inner, every_a, *every_b = ctx.saved_tensors
        gs = [g.reshape(-1, g.shape[-1]).to(flat.dtype) for g in grads]  # (tokens, out)
        scalings = [layer.scaling for layer in ctx.frozen]
        g_inner = torch.cat(
            [
                product(g, b.to(g.dtype)).mul_(s)
                for g, b, s in zip(gs, every_b, scalings, strict=True)
            ],
            1,
        )  # (tokens, sum of ranks)
        d_as = product(g_inner.T, flat).to(every_b[0].dtype).split(ctx.ranks)
        d_bs = [
            product(own.T, g).to(every_b[0].dtype).mul_(s).T
            for own, g, s in zip(inner.split(ctx.ranks, 1), gs, scalings, strict=True)
        ]
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = product(g_inner, every_a)
            for g, layer in zip(gs, ctx.frozen, strict=True):
                add_product(d_x, g, layer.dense())
            d_x = d_x.to(ctx.x[0]).view(ctx.x[1])
        return d_x, None, *(d for pair in zip(d_as, d_bs, strict=True) for d in pair)


def adapted_linears(x: torch.Tensor, *layers: Layer) -> tuple[torch.Tensor, ...]:
    """The results of the layers on x (…, in), each (…, out)."""
    trained = [tensor for layer in layers for tensor in (layer.lora_a, layer.lora_b)]
    return AdaptedLinears.apply(x, layers, *trained)


def install(model: nn.Module) -> tuple[int, int]:
    """Give every plain LoRA linear of `model` the fused forward. Returns (fused, left to PEFT)."""
    from peft.tuners.lora import LoraLayer

    fused = left = 0
    for module in model.modules():
        if isinstance(module, LoraLayer):
            if is_plain(module):
                module.forward = types.MethodType(_forward, module)
                fused += 1
            else:
                left += 1
    return fused, left


def is_plain(module: nn.Module) -> bool:
    """Whether PEFT's module computes the formula above and nothing else."""
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
        and isinstance(module.lora_dropout[name], torch.nn.Identity)
        and not module.merged
        and not module.disable_adapters
    )


def _is_4_bit(module: nn.Module) -> bool:
    # By name: peft has the class only where bitsandbytes is installed.
    kind = type(module)
    return (kind.__module__, kind.__name__) == ("peft.tuners.lora.bnb", "Linear4bit")


def layer_of(module: LoraLinear) -> Layer:
    """The tensors of a plain module."""
    (name,) = module.active_adapters
    base = module.get_base_layer()
    a, b = module.lora_A[name].weight, module.lora_B[name].weight
    if _is_4_bit(module):
        dtype = base.compute_dtype or a.dtype
        bias = None if base.bias is None else base.bias.to(dtype)
        return Layer(base.weight, bias, a, b, module.scaling[name], dtype)
    weight = base.weight.T if module.fan_in_fan_out else base.weight
    return Layer(weight, base.bias, a, b, module.scaling[name], weight.dtype)


def _forward(self: LoraLinear, x: torch.Tensor) -> torch.Tensor:
    return adapted_linears(x, layer_of(self))[0]
