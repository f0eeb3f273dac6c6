"""Fused output head and cross-entropy, in chunks, so that the whole logits never exist.

Logits are the largest tensor of a small model's training step. For a frozen linear head the
gradient of the loss in the hidden states can be computed in the forward pass:

    L = Σ_t −log softmax(h_t Wᵀ + b)[y_t]        ∂L/∂h_t = (softmax(h_t Wᵀ + b) − e_{y_t}) W

Only that gradient, (tokens, hidden_size), is saved for the backward pass. The method is that of
Liger Kernel (arXiv 2410.10989). Heads that do more (a soft cap, a scale, training of their own)
keep their own logits.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch.nn.functional import pad

from lora_engine.training.kernels.matmul import linear, product

CHUNK_BYTES = 8 << 20  # of float32 logits at a time
ROW_MULTIPLE = 128  # chunks have a multiple of this many rows


class HeadLoss(torch.autograd.Function):
    """The summed loss, a float32 scalar.

    hidden (tokens, hidden_size), weight (vocabulary, hidden_size), bias (vocabulary,) or None,
    targets (tokens,).
    """

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets):
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        rows_of_bytes = CHUNK_BYTES // (4 * weight.shape[0]) // ROW_MULTIPLE * ROW_MULTIPLE
        chunk = max(ROW_MULTIPLE, rows_of_bytes)
        # On the CPU a 16-bit product of a new size makes oneDNN generate code for it, which takes
        # longer than the product. There the last chunk is filled up to a size met before.
        is_costly = hidden.device.type == "cpu" and weight.dtype != torch.float32
        multiple = ROW_MULTIPLE if is_costly else 1
        for start in range(0, len(targets), chunk):
            rows = slice(start, start + chunk)
            into = None if gradient is None else gradient[rows]
            total += _chunk_loss(hidden[rows], weight, bias, targets[rows, None], multiple, into)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx, grad):
        (gradient,) = ctx.saved_tensors
        return gradient * grad.to(gradient.dtype), None, None, None


def _chunk_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    expected: torch.Tensor,
    multiple: int,
    gradient: torch.Tensor | None,
) -> torch.Tensor:
    """Σ −log p of a chunk; its gradient in `hidden` is written into `gradient`, unless None.

    hidden and gradient (chunk, hidden_size), expected (chunk, 1). The logits' own buffer holds
    e^(logit − largest) and then the probabilities, so a chunk has one tensor of logits' size.
    """
    filled = _filled_up(hidden.to(weight.dtype), multiple)
    logits = linear(filled, weight, bias)[: len(expected)].float()  # (chunk, vocabulary)
    loss = -logits.gather(1, expected).sum()
    largest = logits.amax(1, keepdim=True)  # (chunk, 1), taken off so that exp cannot overflow
    sums = logits.sub_(largest).exp_().sum(1, keepdim=True)
    loss += (sums.log() + largest).sum()
    if gradient is not None:
        p = logits.div_(sums)
        p.scatter_add_(1, expected, p.new_full(expected.shape, -1.0))  # p − e_y
        filled = _filled_up(p.to(weight.dtype), multiple)
        gradient.copy_(product(filled, weight)[: len(expected)])
    return loss


def _filled_up(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """x (rows, size) with zero rows appended up to a multiple; x itself where none are needed."""
    missing = -len(x) % multiple
    return pad(x, (0, 0, 0, missing)) if missing else x


def summed_head_loss(
    hidden: torch.Tensor, head: torch.nn.Linear, targets: torch.Tensor
) -> torch.Tensor:
    """Σ −log p(target), a float32 scalar (nats); differentiable in `hidden` alone.

    hidden (tokens, hidden_size), targets (tokens,).
    """
    return HeadLoss.apply(hidden, head.weight, head.bias, targets)


def is_frozen_linear(head: torch.nn.Module | None) -> TypeGuard[torch.nn.Linear]:
    """Whether the head is one frozen linear layer."""
    return type(head) is torch.nn.Linear and not any(p.requires_grad for p in head.parameters())
