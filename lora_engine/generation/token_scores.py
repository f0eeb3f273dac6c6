"""Log-probabilities of tokens as a model gave them, with the likeliest tokens beside each.

They are those of the model's own distribution: no temperature and no nucleus changes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TokenScore:
    """ln p of one token in its place. likeliest: (token, ln p) of the likeliest, highest first."""

    token: int
    log_probability: float
    likeliest: tuple[tuple[int, float], ...]


def score_tokens(logits: torch.Tensor, tokens: Sequence[int], likeliest: int) -> list[TokenScore]:
    """The score of each token, from the logits (len(tokens), vocabulary) that predict them."""
    import torch

    if not tokens:
        return []
    everything = logits.float().log_softmax(-1)
    chosen = torch.tensor(list(tokens), device=logits.device)[:, None]
    own = everything.gather(-1, chosen)[:, 0].tolist()
    top = everything.topk(min(likeliest, logits.shape[-1]), dim=-1)
    return [
        TokenScore(token, probability, tuple(zip(ids, values, strict=True)))
        for token, probability, ids, values in zip(
            tokens, own, top.indices.tolist(), top.values.tolist(), strict=True
        )
    ]
