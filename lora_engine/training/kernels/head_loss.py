"""Output head and cross-entropy together, in chunks, so that the logits never exist whole.

For a frozen linear head the gradient of the loss in the hidden states follows in the same pass:

    L = Σ_t −log softmax(h_t Wᵀ + b)[y_t]        ∂L/∂h_t = (softmax(h_t Wᵀ + b) − e_{y_t}) W

so only that gradient, (tokens, hidden), is kept for the backward pass. Heads that do more (a soft
cap, a scale, training of their own) are not for this module.
"""

from __future__ import annotations

import torch
from torch.nn.functional import pad

from lora_engine.training.kernels.matmul import linear, product

CHUNK_BYTES = 8 << 20  # of float32 logits at a time
SIZES = 128  # rows of a chunk come in multiples of this


class HeadLoss(torch.autograd.Function):
    """hidden (tokens, hidden_size), weight (vocabulary, hidden_size), targets (tokens,)."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets):
        needs_grad = ctx.needs_input_grad[0]
        gradient = torch.empty_like(hidden) if needs_grad else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        chunk = max(SIZES, CHUNK_BYTES // (4 * weight.shape[0]) // SIZES * SIZES)
        # As in `packed`: a 16-bit product of a new size is dear on the CPU.
        multiple = 1 if hidden.device.type != "cpu" or weight.dtype == torch.float32 else SIZES
        for start in range(0, len(targets), chunk):
            rows = slice(start, start + chunk)
            into = gradient[rows] if needs_grad else None
            total += _chunk_loss(hidden[rows], weight, bias, targets[rows, None], multiple, into)
        if needs_grad:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx, grad):
        (gradient,) = ctx.saved_tensors
        return gradient * grad.to(gradient.dtype), None, None, None


def _chunk_loss(hidden, weight, bias, expected, multiple: int, gradient) -> torch.Tensor:
    """Σ −log p of a chunk; its gradient in `hidden` is written into `gradient`, unless None.

    One buffer, the logits' own, holds e^(logit − largest) and then the probabilities.
    """
    filled = _filled_up(hidden.to(weight.dtype), multiple)
    logits = linear(filled, weight, bias)[: len(expected)].float()  # (chunk, vocabulary)
    loss = -logits.gather(1, expected).sum()
    largest = logits.amax(1, keepdim=True)
    sums = logits.sub_(largest).exp_().sum(1, keepdim=True)
    loss += (sums.log() + largest).sum()
    if gradient is not None:
        p = logits.div_(sums)
        p.scatter_add_(1, expected, p.new_full(expected.shape, -1.0))
        filled = _filled_up(p.to(weight.dtype), multiple)
        gradient.copy_(product(filled, weight)[: len(expected)])
    return loss


def _filled_up(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """x with rows of zeros below, up to a multiple; x itself where none are missing."""
    missing = -len(x) % multiple
    return pad(x, (0, 0, 0, missing)) if missing else x


def summed_head_loss(
    hidden: torch.Tensor, head: torch.nn.Linear, targets: torch.Tensor
) -> torch.Tensor:
    """Σ −log p(target), a float32 scalar (nats); differentiable in `hidden` alone."""
    return HeadLoss.apply(hidden, head.weight, head.bias, targets)


def is_plain(head: torch.nn.Module | None) -> bool:
    """Whether the head is one frozen linear layer."""
    return type(head) is torch.nn.Linear and not any(p.requires_grad for p in head.parameters())
