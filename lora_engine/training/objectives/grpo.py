"""GRPO: the model answers, rules reward the answers, and those better than their group's mean
become likelier (Shao et al. 2024, arXiv 2402.03300). No reward model and no value model.

A step samples `group_size` answers to each of its prompts, and learns from them once or several
times (`updates_per_generation`), so that a step ends with nothing to remember but the weights: a
checkpoint after it is enough to go on exactly. The loss is in `grpo_loss`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data import TokenizedRow
from lora_engine.data.prompt_rows import PromptRow
from lora_engine.spec import ObjectiveSpec
from lora_engine.training.forward.adapter_off import reference_log_probabilities
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.objectives.grpo_loss import (
    AnswerTokens,
    are_equal,
    group_advantages,
    token_loss,
    token_weights,
)
from lora_engine.training.objectives.objective import (
    Evaluation,
    EvaluationFigures,
    StepFigures,
    StepGradients,
)
from lora_engine.training.objectives.rollouts import SampledAnswer, Sampler
from lora_engine.training.optimizers.update import parameters_of, update

if TYPE_CHECKING:
    import torch


@dataclass
class LearnedBatch:
    """The answers of one pass that are worth a pass. tokens: None before the first pass over them.

    advantages: one an answer.
    """

    answers: list[SampledAnswer]
    advantages: torch.Tensor
    tokens: AnswerTokens | None = None


@dataclass(frozen=True)
class PassSums:
    """What the passes of one update add up to, over the answers they went over."""

    loss: float = 0.0
    kl: float = 0.0
    clipped: int = 0
    answer_tokens: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Grpo:
    """See the module's docstring. An Objective whose rows are PromptRows.

    optimizer, max_grad_norm: for the updates of a step but the last, which the loop makes.
    """

    sampler: Sampler
    optimizer: torch.optim.Optimizer
    max_grad_norm: float

    @property
    def path(self) -> ForwardPath:
        return self.sampler.path

    @property
    def spec(self) -> ObjectiveSpec:
        return self.sampler.objective

    def gradients(self, step: int, batches: Sequence[Sequence[TokenizedRow]]) -> StepGradients:
        """Sample, judge, and learn; the loss is that of the step's last update."""
        import torch

        started = time.perf_counter()
        prompts = [row for rows in batches for row in rows]
        groups = self.sampler.groups(step, _as_prompts(prompts))
        rewards = torch.tensor([[answer.reward for answer in group] for group in groups])
        learned = self._batches(groups, group_advantages(rewards, self.spec.advantage), batches)
        sums = self._passes(learned, rewards.numel())
        seen = sums.tokens
        for _ in range(self.spec.updates_per_generation - 1):
            update(self.optimizer, sums.loss, self.max_grad_norm, step)
            sums = self._passes(learned, rewards.numel())
            seen += sums.tokens
        sampled = sum(len(answer.tokens) for group in groups for answer in group)
        figures = StepFigures(
            reward=float(rewards.mean()),
            reward_std=float(rewards.std()),
            equal_groups=float(are_equal(rewards).float().mean()),
            answer_tokens=sampled / rewards.numel(),
            kl=sums.kl / max(1, sums.answer_tokens) if self.spec.has_reference else None,
            clipped=sums.clipped / max(1, sums.answer_tokens),
        )
        seconds = time.perf_counter() - started
        return StepGradients(sums.loss, seen + sampled, seconds, figures)

    def evaluate(self, rows: Sequence[TokenizedRow], batch_size: int) -> Evaluation:
        """The mean reward of the likeliest answers; the loss is its negative."""
        if not rows:
            return Evaluation()
        answers = self.sampler.greedy(_as_prompts(rows))
        reward = sum(answer.reward for answer in answers) / len(answers)
        return Evaluation(loss=0.0 - reward, figures=EvaluationFigures(eval_reward=reward))

    def _batches(
        self,
        groups: Sequence[Sequence[SampledAnswer]],
        advantages: torch.Tensor,
        batches: Sequence[Sequence[TokenizedRow]],
    ) -> list[LearnedBatch]:
        """The answers of each pass. advantages (prompts, group_size).

        Where the KL weighs nothing, an answer with the advantage 0 has no gradient and is left out.
        """
        found, start = [], 0
        for rows in batches:
            places = range(start, start + len(rows))
            pairs = [
                (answer, advantage)
                for place in places
                for answer, advantage in zip(groups[place], advantages[place], strict=True)
                if answer.tokens and (self.spec.has_reference or advantage != 0)
            ]
            start += len(rows)
            if pairs:
                values = advantages.new_tensor([float(advantage) for _, advantage in pairs])
                found.append(LearnedBatch([answer for answer, _ in pairs], values))
        return found

    def _passes(self, learned: Sequence[LearnedBatch], answers: int) -> PassSums:
        """A forward and a backward pass for each batch. answers: of the whole step."""
        import torch

        sums = PassSums()
        for batch in learned:
            sums = self._pass(batch, answers, sums)
        for parameter in parameters_of(self.optimizer):
            if parameter.grad is None:  # nothing to learn: the optimizer's momentum goes on
                parameter.grad = torch.zeros_like(parameter)
        return sums

    def _pass(self, batch: LearnedBatch, answers: int, sums: PassSums) -> PassSums:
        collated = self.path.collate([answer.learned_row for answer in batch.answers])
        found = self.path.log_probabilities(collated, self.spec.temperature)
        if batch.tokens is None:
            temperature = self.spec.temperature
            reference = (
                reference_log_probabilities(self.path, collated, temperature)
                if self.spec.has_reference
                else None
            )
            batch.tokens = self._answer_tokens(batch, answers, found.detach(), reference)
        result = token_loss(found, batch.tokens, self.spec.epsilon, self.spec.strength)
        result.loss.backward()
        return PassSums(
            sums.loss + float(result.loss.detach()),
            sums.kl + result.kl,
            sums.clipped + result.clipped,
            sums.answer_tokens + len(found),
            sums.tokens + collated.tokens,
        )

    def _answer_tokens(
        self,
        batch: LearnedBatch,
        answers: int,
        old: torch.Tensor,
        reference: torch.Tensor | None,
    ) -> AnswerTokens:
        """What the loss needs to know of each token. old: ln p before the step's first update."""
        import torch

        lengths = torch.tensor([len(answer.tokens) for answer in batch.answers])
        spec = self.spec
        weights = token_weights(lengths, answers, spec.max_new_tokens, spec.advantage)
        spread = torch.arange(len(lengths)).repeat_interleave(lengths)  # (tokens,)
        return AnswerTokens(
            batch.advantages[spread].to(old.device), weights[spread].to(old.device), old, reference
        )


def _as_prompts(rows: Sequence[TokenizedRow]) -> list[PromptRow]:
    prompts = [row for row in rows if isinstance(row, PromptRow)]
    assert len(prompts) == len(rows), "a run of grpo is prepared with prompts"
    return prompts
