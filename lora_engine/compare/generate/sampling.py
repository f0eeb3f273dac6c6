"""How the next token is chosen: greedy, or from the nucleus with a seed.

Every row draws with the same uniform numbers (one a step, from the seed). So two columns differ
only where their distributions do, and a row's draw never depends on the rows beside it.
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
    """Chooses one token a step for each row of a batch.

    prompts: the token ids each row starts with (the repetition penalty counts them).
    """

    def __init__(self, sampling: Sampling, prompts: Sequence[Sequence[int]], vocabulary: int):
        import torch

        self.sampling = sampling
        self._random = random.Random(sampling.seed)
        self._seen: torch.Tensor | None = None  # (rows, vocabulary)
        if sampling.repetition_penalty != 1.0:
            self._seen = torch.zeros((len(prompts), vocabulary), dtype=torch.bool)
            for row, prompt in enumerate(prompts):
                self._seen[row, list(prompt)] = True

    def choose(self, logits: torch.Tensor) -> torch.Tensor:
        """logits (rows, vocabulary) to token ids (rows,)."""
        if self._seen is not None:
            self._seen = self._seen.to(logits.device)
            logits = self._penalised(logits, self._seen)
        chosen = logits.argmax(-1) if self.sampling.temperature == 0.0 else self._drawn(logits)
        if self._seen is not None:
            self._seen.scatter_(1, chosen[:, None], True)
        return chosen

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Drop every row but these (indices, (kept,)); the uniform numbers go on for the rest."""
        if self._seen is not None:
            self._seen = self._seen[rows.to(self._seen.device)]

    def _penalised(self, logits: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Logits and seen, (rows, vocabulary) each: tokens in the conversation made less likely.

        A logit is divided or multiplied by the penalty, whichever lowers it (arXiv 1909.05858).
        """
        import torch

        penalty = self.sampling.repetition_penalty
        lowered = torch.where(logits < 0, logits * penalty, logits / penalty)
        return torch.where(seen, lowered, logits)

    def _drawn(self, logits: torch.Tensor) -> torch.Tensor:
        """Inverse-CDF sampling from the nucleus: the first token at which the sum passes u.

        logits (rows, vocabulary) to token ids (rows,). One u for all rows, so that two columns with
        equal distributions draw the same token.
        """
        import torch

        scaled = logits.float() / self.sampling.temperature
        probabilities, order = scaled.softmax(-1).sort(dim=-1, descending=True, stable=True)
        total = probabilities.cumsum(-1)
        # A token stays while the tokens before it have not reached top_p; the first always does.
        probabilities = probabilities.masked_fill(total - probabilities >= self.sampling.top_p, 0.0)
        total = probabilities.cumsum(-1)
        threshold = self._random.random() * total[:, -1:]
        position = torch.searchsorted(total, threshold, right=True)  # (rows, 1)
        # Rounding can leave u at the total itself: then the last token of the nucleus is meant.
        last_in_nucleus = (total < total[:, -1:]).sum(-1, keepdim=True)
        position = torch.minimum(position, last_in_nucleus)
        return order.gather(-1, position)[:, 0]
