"""How the next token is chosen: greedy, or from the nucleus with a seed.

A row draws with uniform numbers of its own, one a step, from its seed. So two columns of one seed
differ only where their distributions do, and a draw never depends on the rows beside it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import torch


class Sampling(BaseModel):
    """How one answer is sampled. Forms and the command line show these bounds and help texts."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    max_new_tokens: int = Field(
        64,
        title="Token limit",
        description="The longest answer, in tokens.",
        ge=1,
        le=8192,
    )
    temperature: float = Field(
        0.0,
        title="Temperature",
        description="0 always takes the likeliest token; higher values spread the choice.",
        ge=0.0,
        le=5.0,
    )
    top_p: float = Field(
        1.0,
        title="Top-p",
        description="Sample from the likeliest tokens that together reach this probability. "
        "Works with a temperature above 0.",
        gt=0.0,
        le=1.0,
    )
    repetition_penalty: float = Field(
        1.0,
        title="Repetition penalty",
        description="Above 1, tokens already in the conversation become less likely "
        "(arXiv 1909.05858). 1 changes nothing.",
        ge=0.5,
        le=2.0,
    )
    seed: int = Field(
        0,
        title="Seed",
        description="The same seed gives the same answer again.",
        ge=0,
        le=2**32 - 1,
    )


class TokenChooser:
    """Chooses one token a step for each row of a batch, by the row's own sampling.

    samplings and prompts: one a row; prompts are the token ids that it starts with (the repetition
    penalty counts them). Rows with equal seeds draw with equal random numbers, step by step.
    """

    def __init__(
        self, samplings: Sequence[Sampling], prompts: Sequence[Sequence[int]], vocabulary: int
    ) -> None:
        import torch

        self._samplings = list(samplings)
        self._random = [random.Random(one.seed) for one in samplings]
        self._seen: torch.Tensor | None = None  # (rows, vocabulary)
        if any(one.repetition_penalty != 1.0 for one in samplings):
            self._seen = torch.zeros((len(prompts), vocabulary), dtype=torch.bool)
            for row, prompt in enumerate(prompts):
                self._seen[row, list(prompt)] = True

    def choose(self, logits: torch.Tensor) -> torch.Tensor:
        """logits (rows, vocabulary) to token ids (rows,)."""
        import torch

        if self._seen is not None:
            self._seen = self._seen.to(logits.device)
            logits = self._penalised(logits, self._seen)
        chosen = logits.argmax(-1)
        if any(one.temperature != 0.0 for one in self._samplings):
            greedy = torch.tensor([one.temperature == 0.0 for one in self._samplings])
            chosen = torch.where(greedy.to(chosen.device), chosen, self._drawn(logits))
        if self._seen is not None:
            self._seen.scatter_(1, chosen[:, None], True)
        return chosen

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Keep these rows alone, in this order (indices, (kept,)); their random numbers go on."""
        kept = rows.tolist()
        self._samplings = [self._samplings[row] for row in kept]
        self._random = [self._random[row] for row in kept]
        if self._seen is not None:
            self._seen = self._seen[rows.to(self._seen.device)]

    def join(self, other: TokenChooser) -> None:
        """Take in another chooser's rows, after the own ones."""
        import torch

        mine, theirs = self._seen, other._seen
        if mine is not None or theirs is not None:
            # A row without a penalty is changed by no token that it has seen: zeros will do.
            made = mine if mine is not None else theirs
            assert made is not None
            self._seen = torch.cat(
                [
                    made.new_zeros((len(one._samplings), made.shape[1]))
                    if one._seen is None
                    else one._seen.to(made.device)
                    for one in (self, other)
                ]
            )
        self._samplings += other._samplings
        self._random += other._random

    def _penalised(self, logits: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Logits and seen, (rows, vocabulary) each: tokens in the conversation made less likely.

        A logit is divided or multiplied by the penalty, whichever lowers it (arXiv 1909.05858).
        """
        import torch

        penalty = _column([one.repetition_penalty for one in self._samplings], logits)
        lowered = torch.where(logits < 0, logits * penalty, logits / penalty)
        return torch.where(seen, lowered, logits)

    def _drawn(self, logits: torch.Tensor) -> torch.Tensor:
        """Inverse-CDF sampling from the nucleus: the first token at which the sum passes u.

        logits (rows, vocabulary) to token ids (rows,). Rows with equal seeds have one u, so two
        columns with equal distributions draw the same token. Greedy rows draw at temperature 1.
        """
        import torch

        scaled = logits.float()
        scaled = scaled / _column([one.temperature or 1.0 for one in self._samplings], scaled)
        probabilities, order = scaled.softmax(-1).sort(dim=-1, descending=True, stable=True)
        total = probabilities.cumsum(-1)
        # A token stays while the tokens before it have not reached top_p; the first always does.
        top_p = _column([one.top_p for one in self._samplings], scaled)
        probabilities = probabilities.masked_fill(total - probabilities >= top_p, 0.0)
        total = probabilities.cumsum(-1)
        u = _column([one.random() for one in self._random], scaled)
        threshold = u * total[:, -1:]
        position = torch.searchsorted(total, threshold, right=True)  # (rows, 1)
        # Rounding can leave u at the total itself: then the last token of the nucleus is meant.
        last_in_nucleus = (total < total[:, -1:]).sum(-1, keepdim=True)
        position = torch.minimum(position, last_in_nucleus)
        return order.gather(-1, position)[:, 0]


def _column(numbers: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """One number a row, (rows, 1), on the device of `like`, in 32 bits or more."""
    import torch

    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.tensor(numbers, dtype=dtype, device=like.device)[:, None]
