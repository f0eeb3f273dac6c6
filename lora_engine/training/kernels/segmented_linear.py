"""Frozen linear layers under the adapters of several runs, whose tokens lie end to end.

    y_i[s] = x[s] W_iᵀ + b_i + scaling (d(x[s]) Aᵀ) Bᵀ      for the tokens s of each run

The product with the frozen W runs once over all tokens. A, B, scaling and dropout are those of the
run that the tokens belong to, so that its outputs and gradients are those of the run alone. The
layers that read one x are one autograd function, as in `fused_linear`, whose arithmetic this uses.
There are two ways to the same numbers. By segments, each run's products are by themselves: the
least work, and every kind of dropout. Side by side, the A of all runs are one matrix and so are
the B, and the inner products of other runs' ranks become 0: more work in few large products, which
a GPU prefers to many small ones.

Similar in aim to Punica (arXiv 2310.18547) and mLoRA (arXiv 2312.02515).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lora_engine.training.kernels.fused_linear import (
    LayerTensors,
    adapted_linears,
    adapter_gradients,
    add_adapters,
    dense_weight,
    gradient_through_adapters,
)
from lora_engine.training.kernels.matmul import add_product, linear, product


@dataclass(frozen=True)
class FrozenLinear:
    """The weight of a layer, (out, in) or packed in 4 bits, and its bias. dtype: of products."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    dtype: torch.dtype

    def dense(self) -> torch.Tensor:
        return dense_weight(self.weight, self.dtype)


@dataclass(frozen=True)
class Segment:
    """The tokens of one run, and its adapters by the place of the layer among those that read x.

    generator: draws the run's dropout.
    """

    tokens: slice
    adapters: dict[int, LayerTensors]
    generator: torch.Generator

    @property
    def trained(self) -> list[torch.Tensor]:
        return [t for layer in self.adapters.values() for t in (layer.lora_a, layer.lora_b)]


class SegmentedLinears(torch.autograd.Function):
    """The module's formula. x (…, in) with the tokens of all runs; a result (…, out) a layer.

    Tokens of no segment get no adapter. trained: A and B of each adapter of each segment in turn.
    """

    @staticmethod
    def forward(ctx, x, frozen, segments, *trained):
        flat = x.reshape(-1, x.shape[-1]).to(frozen[0].dtype)  # (tokens, in)
        outputs = [linear(flat, layer.dense(), layer.bias) for layer in frozen]  # (tokens, out)
        saved: list[torch.Tensor | None] = []
        for segment in segments:
            own, layers = flat[segment.tokens], list(segment.adapters.values())
            kept = [layer.draw_kept(own, segment.generator) for layer in layers]
            adapted = [outputs[place][segment.tokens] for place in segment.adapters]
            inner = add_adapters(adapted, own, layers, kept, segment.trained)
            saved += [inner, *kept]
        ctx.save_for_backward(flat, *saved, *trained)
        ctx.frozen, ctx.segments, ctx.x = frozen, segments, (x.dtype, x.shape)
        return tuple(y.to(x.dtype).view(*x.shape[:-1], -1) for y in outputs)

    @staticmethod
    def backward(ctx, *grads):
        flat, *saved = ctx.saved_tensors
        gs = [g.reshape(-1, g.shape[-1]).to(flat.dtype) for g in grads]  # (tokens, out)
        d_x = _through_frozen(gs, ctx.frozen) if ctx.needs_input_grad[0] else None
        counts = [len(segment.adapters) for segment in ctx.segments]
        trained = saved[len(counts) + sum(counts) :]
        gradients: list[torch.Tensor] = []
        for segment, count in zip(ctx.segments, counts, strict=True):
            inner, *kept = saved[: 1 + count]
            saved, own = saved[1 + count :], trained[: 2 * count]
            trained = trained[2 * count :]
            layers = list(segment.adapters.values())
            g_own = [gs[place][segment.tokens] for place in segment.adapters]
            g_inners, d_trained = adapter_gradients(
                flat[segment.tokens], inner, g_own, layers, kept, own
            )
            gradients += d_trained
            if d_x is not None:
                d_x[segment.tokens] += gradient_through_adapters(g_inners, own, layers, kept)
        if d_x is not None:
            d_x = d_x.to(ctx.x[0]).view(ctx.x[1])
        return d_x, None, None, *gradients


def _through_frozen(gs: list[torch.Tensor], frozen: Sequence[FrozenLinear]) -> torch.Tensor:
    """Σ g_i W_i, (tokens, in)."""
    d_x = product(gs[0], frozen[0].dense())
    for g, layer in zip(gs[1:], frozen[1:], strict=True):
        add_product(d_x, g, layer.dense())
    return d_x


def segmented_linears(
    x: torch.Tensor, frozen: Sequence[FrozenLinear], segments: Sequence[Segment]
) -> tuple[torch.Tensor, ...]:
    """The outputs of the layers on x (…, in), each (…, out)."""
    adapted = [segment for segment in segments if segment.adapters]
    trained = [tensor for segment in adapted for tensor in segment.trained]
    return SegmentedLinears.apply(x, frozen, adapted, *trained)


def side_by_side_linears(
    x: torch.Tensor, frozen: Sequence[FrozenLinear], segments: Sequence[Segment]
) -> tuple[torch.Tensor, ...]:
    """As `segmented_linears`, which also does where a layer has no adapter or one has dropout."""
    every = [
        [(s.tokens, s.adapters[place]) for s in segments if place in s.adapters]
        for place in range(len(frozen))
    ]
    if not all(every) or any(own.dropout for adapters in every for _, own in adapters):
        return segmented_linears(x, frozen, segments)
    tokens = x.numel() // x.shape[-1]
    layers = (_one_layer(*one, tokens) for one in zip(frozen, every, strict=True))
    return adapted_linears(x, *layers)


def _one_layer(
    frozen: FrozenLinear, adapters: Sequence[tuple[slice, LayerTensors]], tokens: int
) -> LayerTensors:
    """A layer under one adapter of all ranks, of which each token uses those of its run."""
    lora_a = torch.cat([own.lora_a for _, own in adapters])  # (sum of ranks, in)
    lora_b = torch.cat([own.lora_b for _, own in adapters], 1)  # (out, sum of ranks)
    scaling = frozen.weight.new_zeros((tokens, len(lora_a)), dtype=frozen.dtype)
    start = 0
    for of_run, own in adapters:
        end = start + own.lora_a.shape[0]
        scaling[of_run, start:end] = own.scaling
        start = end
    return LayerTensors(
        frozen.weight, frozen.bias, lora_a, lora_b, 1.0, frozen.dtype, token_scaling=scaling
    )


def frozen_linear(module: Any) -> FrozenLinear | None:
    """The tensors of a linear layer of a base model; None for a module of another kind."""
    from transformers.pytorch_utils import Conv1D

    kind = type(module)
    if (kind.__module__, kind.__name__) == ("bitsandbytes.nn.modules", "Linear4bit"):
        dtype = module.compute_dtype or torch.float32  # that of the adapters, where it says none
        bias = None if module.bias is None else module.bias.to(dtype)
        return FrozenLinear(module.weight, bias, dtype)
    if kind not in (torch.nn.Linear, Conv1D) or not module.weight.is_floating_point():
        return None
    weight = module.weight.T if kind is Conv1D else module.weight
    return FrozenLinear(weight, module.bias, weight.dtype)
