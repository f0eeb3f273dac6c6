"""Fused output head and cross-entropy, in chunks, so that the whole logits never exist.

Logits are the largest tensor of a small model's training step. For a frozen linear head the
gradient of the loss in the hidden states can be computed in the forward pass:

    L = Σ_t −log softmax(h_t Wᵀ + b)[y_t]        ∂L/∂h_t = (softmax(h_t Wᵀ + b) − e_{y_t}) W

Only that gradient, (tokens, hidden_size), is saved for the backward pass. The method is that of
Liger Kernel (arXiv 2410.10989). Heads that do more (a soft cap, a scale, training of their own)
keep their own logits.
"""

from __future__ import annotations

from collections.abc import Iterator
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
        multiple = _row_multiple(hidden, weight)
        for rows in _chunks(len(targets), weight):
            into = None if gradient is None else gradient[rows]
            total += _chunk_loss(hidden[rows], weight, bias, targets[rows, None], multiple, into)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx, grad):
        (gradient,) = ctx.saved_tensors
        return gradient * grad.to(gradient.dtype), None, None, None


class HeadLogProbabilities(torch.autograd.Function):
    """ln softmax((h Wᵀ + b) / T)[y] of each token, (tokens,) in float32.

    Arguments as those of HeadLoss, and temperature T. What is saved for the backward pass is
    HeadLoss's gradient: each token's own row of it is scaled by what comes from above.
    """

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, temperature):
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        found = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        multiple = _row_multiple(hidden, weight)
        for rows in _chunks(len(targets), weight):
            into = None if gradient is None else gradient[rows]
            expected = targets[rows, None]
            chosen, normalizers = _chunk_logits(
                hidden[rows], weight, bias, expected, multiple, into, temperature
            )
            found[rows] = (chosen - normalizers)[:, 0]
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return found

    @staticmethod
    def backward(ctx, grad):
        (gradient,) = ctx.saved_tensors  # of −ln p
        return gradient * -grad[:, None].to(gradient.dtype), None, None, None, None


def _chunks(tokens: int, weight: torch.Tensor) -> Iterator[slice]:
    """Slices of the tokens whose logits take CHUNK_BYTES at most."""
    rows_of_bytes = CHUNK_BYTES // (4 * weight.shape[0]) // ROW_MULTIPLE * ROW_MULTIPLE
    chunk = max(ROW_MULTIPLE, rows_of_bytes)
    return (slice(start, start + chunk) for start in range(0, tokens, chunk))


def _row_multiple(hidden: torch.Tensor, weight: torch.Tensor) -> int:
    """A chunk is filled up to a multiple of this many rows.

    On the CPU a 16-bit product of a new size makes oneDNN generate code for it, which takes longer
    than the product. There the last chunk is filled up to a size met before.
    """
    is_costly = hidden.device.type == "cpu" and weight.dtype != torch.float32
    return ROW_MULTIPLE if is_costly else 1


def _chunk_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    expected: torch.Tensor,
    multiple: int,
    gradient: torch.Tensor | None,
) -> torch.Tensor:
    """Σ −log p of a chunk; its gradient in `hidden` is written into `gradient`, unless None.

    Shapes as in `_chunk_logits`.
    """
    chosen, normalizers = _chunk_logits(hidden, weight, bias, expected, multiple, gradient)
    loss = -chosen.sum()
    loss += normalizers.sum()
    return loss


def _chunk_logits(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    expected: torch.Tensor,
    multiple: int,
    gradient: torch.Tensor | None,
    temperature: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each token's logit z_y and normalizer ln Σ_v e^(z_v), (chunk, 1) each: ln p = z_y − ln Σ.

    hidden and gradient (chunk, hidden_size), expected (chunk, 1). The gradient of −ln p in `hidden`
    is written into `gradient`, unless None. The logits' own buffer holds e^(logit − largest) and
    then the probabilities, so a chunk has one tensor of logits' size.
    """
    filled = _filled_up(hidden.to(weight.dtype), multiple)
    logits = linear(filled, weight, bias)[: len(expected)].float()  # (chunk, vocabulary)
    if temperature != 1.0:
        logits.div_(temperature)
    chosen = logits.gather(1, expected)
    largest = logits.amax(1, keepdim=True)  # (chunk, 1), taken off so that exp cannot overflow
    sums = logits.sub_(largest).exp_().sum(1, keepdim=True)
    normalizers = sums.log() + largest
    if gradient is not None:
        p = logits.div_(sums)
        p.scatter_add_(1, expected, p.new_full(expected.shape, -1.0))  # p − e_y
        if temperature != 1.0:
            p.div_(temperature)
        filled = _filled_up(p.to(weight.dtype), multiple)
        gradient.copy_(product(filled, weight)[: len(expected)])
    return chosen, normalizers


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


def head_log_probabilities(
    hidden: torch.Tensor, head: torch.nn.Linear, targets: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """ln p(target) of each token at this temperature, (tokens,) in float32 (nats).

    hidden (tokens, hidden_size), targets (tokens,); differentiable in `hidden` alone.
    """
    return HeadLogProbabilities.apply(hidden, head.weight, head.bias, targets, temperature)


def is_frozen_linear(head: torch.nn.Module | None) -> TypeGuard[torch.nn.Linear]:
    """Whether the head is one frozen linear layer."""
    return type(head) is torch.nn.Linear and not any(p.requires_grad for p in head.parameters())
