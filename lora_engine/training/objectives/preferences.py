"""The objectives that learn from answers that are compared (dpo, ipo, orpo, simpo) or judged (kto).

A step's loss is the mean over its pairs, or over its judged answers, however they are spread over
its batches; orpo's mean over tokens and kto's KL estimate are those of each batch, as in TRL. The
reference's log-probabilities stand in the rows (`reference`), so a step runs no second model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from lora_engine.data import TokenizedRow
from lora_engine.data.preference_tokens import JudgedRow, PairRow
from lora_engine.spec import ObjectiveSpec
from lora_engine.training.compatibility import WHOLE_BATCHES
from lora_engine.training.evaluation import batches_of
from lora_engine.training.forward.batches import IGNORED, ForwardPath
from lora_engine.training.objectives.answers import score_answers, score_pairs
from lora_engine.training.objectives.divergence import mean_divergence
from lora_engine.training.objectives.objective import (
    Evaluation,
    EvaluationFigures,
    StepFigures,
    StepGradients,
)
from lora_engine.training.ranks.ranks import ALONE, Ranks
from lora_engine.training.ranks.shares import own_share

if TYPE_CHECKING:
    import torch

Preferred = TypeVar("Preferred", PairRow, JudgedRow)


@dataclass(frozen=True)
class ScoredBatch:
    """What one batch of rows gave.

    loss: the mean over its pairs or answers, a scalar. chosen, rejected: rewards of the good and of
    the bad answers. read: tokens that the model read for the loss.
    """

    loss: torch.Tensor
    rows: int
    chosen: list[float]
    rejected: list[float]
    read: int
    kl: float | None = None


@dataclass(frozen=True)
class Preferences:
    """A loss over pairs or judged answers. An Objective.

    max_length: where kto cuts an answer that it puts after another question. measures_kl: the model
    with its adapter off is the reference, so that the KL to it can be measured.
    """

    path: ForwardPath
    spec: ObjectiveSpec
    max_length: int
    measures_kl: bool = False
    ranks: Ranks = ALONE

    def gradients(self, step: int, batches: Sequence[Sequence[TokenizedRow]]) -> StepGradients:
        """Gradient accumulation: a forward and a backward pass for each of the batches."""
        started = time.perf_counter()
        rows = self.ranks.total(sum(len(batch) for batch in batches))
        loss, scored = 0.0, []
        for batch in batches:
            found = self._score(batch)
            share = found.loss * (found.rows / rows)
            share.backward()
            loss += float(share.detach())
            scored.append(_by_itself(found))
        loss = self.ranks.total(loss)
        everyone = self.ranks.gathered(scored)
        read = sum(one.read for one in everyone)
        return StepGradients(loss, read, time.perf_counter() - started, _figures(everyone))

    def evaluate(self, rows: Sequence[TokenizedRow], batch_size: int) -> Evaluation:
        import torch

        if not rows:
            return Evaluation()
        self.path.model.eval()
        own = own_share(
            batches_of(rows, batch_size), self.ranks, self.spec.kind not in WHOLE_BATCHES
        )
        with torch.inference_mode():
            scored = self.ranks.gathered([_by_itself(self._score(some)) for some in own])
            kl = mean_divergence(self.path, rows) if self.measures_kl else None
        self.path.model.train()
        loss = sum(float(one.loss) * one.rows for one in scored) / len(rows)
        found = _figures(scored)
        figures = EvaluationFigures(
            eval_reward_chosen=found.reward_chosen,
            eval_reward_rejected=found.reward_rejected,
            eval_reward_margin=found.reward_margin,
            eval_reward_accuracy=found.reward_accuracy,
            eval_kl=kl,
        )
        return Evaluation(loss, figures=figures)

    def _score(self, rows: Sequence[TokenizedRow]) -> ScoredBatch:
        if self.spec.kind == "kto":
            return self._judged(_all_of(JudgedRow, rows))
        return self._pairs(_all_of(PairRow, rows))

    def _pairs(self, pairs: Sequence[PairRow]) -> ScoredBatch:
        from lora_engine.training.objectives.preference_losses import pair_losses

        scored = score_pairs(self.path, pairs, with_questions=self.spec.kind == "orpo")
        sums = scored.chosen.log_probabilities
        reference = sums.new_tensor([p.reference for p in pairs]) if pairs[0].reference else None
        found = pair_losses(self.spec, scored, reference)
        loss = found.losses.mean()
        if scored.whole_loss is not None:
            loss = loss + scored.whole_loss
        chosen, rejected = found.chosen_rewards.tolist(), found.rejected_rewards.tolist()
        return ScoredBatch(loss, len(pairs), chosen, rejected, scored.read)

    def _judged(self, rows: Sequence[JudgedRow]) -> ScoredBatch:
        import torch

        from lora_engine.training.objectives.preference_losses import estimated_kl, judged_losses

        with torch.no_grad():
            others, _ = score_answers(self.path, mismatched(rows, self.max_length))
        answers, read = score_answers(self.path, rows)
        sums = answers.log_probabilities
        reference = sums.new_tensor([row.reference for row in rows])  # (answers, 2)
        kl = estimated_kl(others.log_probabilities, reference[:, 1])
        ratios = sums - reference[:, 0]
        good = [row.is_desirable for row in rows]
        losses = judged_losses(self.spec, ratios, torch.tensor(good, device=sums.device), kl)
        rewards = list(zip(good, (self.spec.strength * ratios.detach()).tolist(), strict=True))
        return ScoredBatch(
            losses.mean(),
            len(rows),
            [reward for is_good, reward in rewards if is_good],
            [reward for is_good, reward in rewards if not is_good],
            read,
            float(kl),
        )


def _all_of(kind: type[Preferred], rows: Sequence[TokenizedRow]) -> list[Preferred]:
    found = [row for row in rows if isinstance(row, kind)]
    assert len(found) == len(rows), "the rows are tokenized for this objective"
    return found


def mismatched(rows: Sequence[JudgedRow], max_length: int) -> list[TokenizedRow]:
    """Each question with the answer of the row before it, the first with that of the last."""
    return [
        _with_answer_of(row, other, max_length)
        for row, other in zip(rows, [rows[-1], *rows[:-1]], strict=True)
    ]


def _with_answer_of(row: TokenizedRow, other: TokenizedRow, max_length: int) -> TokenizedRow:
    asked, answered = _start_of_answer(row), _start_of_answer(other)
    ids = (*row.input_ids[:asked], *other.input_ids[answered:])[:max_length]
    labels = (*[IGNORED] * asked, *other.labels[answered:])[:max_length]
    return TokenizedRow(row.number, ids, labels, truncated=False)


def _start_of_answer(row: TokenizedRow) -> int:
    """The place of the first token with a loss; there is one, and it is not the first token."""
    return next(at for at, label in enumerate(row.labels) if at and label != IGNORED)


def _by_itself(scored: ScoredBatch) -> ScoredBatch:
    """Without the graph behind the loss."""
    return replace(scored, loss=scored.loss.detach().cpu())


def _figures(scored: Sequence[ScoredBatch]) -> StepFigures:
    """Means over all the pairs or answers of the batches. Accuracy: of pairs alone."""
    chosen = [reward for one in scored for reward in one.chosen]
    rejected = [reward for one in scored for reward in one.rejected]
    rows = sum(one.rows for one in scored)
    are_pairs = all(one.kl is None for one in scored)
    kls = [one.kl * one.rows for one in scored if one.kl is not None]
    good, bad = _mean(chosen), _mean(rejected)
    return StepFigures(
        reward_chosen=good,
        reward_rejected=bad,
        reward_margin=None if good is None or bad is None else good - bad,
        reward_accuracy=_mean([float(a > b) for a, b in zip(chosen, rejected, strict=True)])
        if are_pairs
        else None,
        kl=sum(kls) / rows if kls else None,
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
