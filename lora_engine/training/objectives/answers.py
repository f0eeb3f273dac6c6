"""How likely the model finds whole answers: Σ ln p over the tokens of each, in one pass.

Knows rows and forward paths, and not what an answer is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lora_engine.data import TokenizedRow
from lora_engine.data.preference_tokens import PairRow
from lora_engine.training.forward.batches import IGNORED, ForwardPath

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Answers:
    """log_probabilities: Σ ln p of each answer (nats), tokens: how many it has; (answers,) each."""

    log_probabilities: torch.Tensor
    tokens: torch.Tensor

    @property
    def means(self) -> torch.Tensor:
        """ln p a token, (answers,)."""
        return self.log_probabilities / self.tokens


@dataclass(frozen=True)
class ScoredPairs:
    """Both sides of some pairs. read: the tokens that the model read.

    whole_loss: the mean of −ln p over all tokens of the chosen rows, their questions included; None
    where it was not asked for.
    """

    chosen: Answers
    rejected: Answers
    read: int
    whole_loss: torch.Tensor | None = None


def score_answers(path: ForwardPath, rows: Sequence[TokenizedRow]) -> tuple[Answers, int]:
    """The rows' answers, and the tokens that the model read. Differentiable."""
    batch = path.collate(rows)
    parts = path.log_probabilities(batch).split([supervised_in(row) for row in rows])
    return _answers(parts), batch.tokens


def score_pairs(path: ForwardPath, pairs: Sequence[PairRow], with_questions: bool) -> ScoredPairs:
    """Both answers of each pair, from one pass over all of them. Differentiable.

    with_questions: measure `whole_loss` too.
    """
    import torch

    rejected = [pair.rejected for pair in pairs]
    shown = [*(map(_whole, pairs) if with_questions else pairs), *rejected]
    batch = path.collate(shown)
    parts = path.log_probabilities(batch).split([supervised_in(row) for row in shown])
    chosen, others = parts[: len(pairs)], parts[len(pairs) :]
    whole_loss = None
    if with_questions:
        whole_loss = -torch.cat(chosen).mean()
        chosen = [part[_is_answer(pair)] for part, pair in zip(chosen, pairs, strict=True)]
    return ScoredPairs(_answers(chosen), _answers(others), batch.tokens, whole_loss)


def supervised_in(row: TokenizedRow) -> int:
    """The tokens of a row that have a loss; nothing predicts its first."""
    return sum(label != IGNORED for label in row.labels[1:])


def _answers(parts: Sequence[torch.Tensor]) -> Answers:
    """parts: ln p of the tokens of each answer."""
    import torch

    # Summed one by one: an indexed sum on a GPU adds in another order each time.
    sums = torch.stack([part.sum() for part in parts])
    return Answers(sums, torch.tensor([len(part) for part in parts], device=sums.device))


def _whole(row: TokenizedRow) -> TokenizedRow:
    """The row with the loss on every token that something stands before."""
    return replace(row, labels=(IGNORED, *row.input_ids[1:]))


def _is_answer(row: TokenizedRow) -> list[bool]:
    return [label != IGNORED for label in row.labels[1:]]
