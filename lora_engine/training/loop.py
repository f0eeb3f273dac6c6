"""The training loop: batches in, optimizer steps out.

One optimizer step runs a forward and a backward pass for each of its batches (gradient
accumulation), averages the loss over the supervised tokens of the whole step, clips the gradients
and lets the optimizer update the weights. Evaluation, logging and checkpoints come between steps,
through the callbacks the caller passes. The loop knows no files, and not how a forward path turns
rows into a loss.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from lora_engine.data import TokenizedRow
from lora_engine.run_folder import MetricsRow
from lora_engine.spec import MOST_DEVICES, OptimizationSpec
from lora_engine.training.forward.classification_scores import ClassificationScores
from lora_engine.training.forward.scaled import ScaledPath
from lora_engine.training.learning_rate_schedule import learning_rate_at
from lora_engine.training.objectives.objective import Evaluation, Objective, StepGradients
from lora_engine.training.optimizers.update import parameters_of, update
from lora_engine.training.plan import Plan
from lora_engine.training.ranks.ranks import ALONE, Ranks
from lora_engine.training.ranks.shares import own_share

if TYPE_CHECKING:
    import torch


@dataclass
class TrainingProgress:
    """How far a run has come; a checkpoint saves all of it but the last four fields.

    loss_sum: of the steps' training losses. start_eval_loss: before the first step, of an adapter
    that the run goes on from. saved_step, saved_as: which step's weights the
    result folder holds, and of which kind; None until a result is written. trained_parameters:
    how many numbers the optimizer changes. eval_loss_by_set: of a mixture, each evaluated set's
    loss after the last step.
    """

    step: int = 0
    tokens: int = 0
    elapsed_s: float = 0.0
    loss_sum: float = 0.0
    best_eval_loss: float | None = None
    best_step: int | None = None
    evaluations_since_best: int = 0
    last_eval_loss: float | None = None
    last_eval_accuracy: float | None = None
    last_eval_f1: float | None = None
    last_eval_reward_accuracy: float | None = None
    last_eval_reward_margin: float | None = None
    start_eval_loss: float | None = None
    saved_step: int | None = None
    saved_as: Literal["adapter", "model"] | None = None
    trained_parameters: int | None = None
    eval_loss_by_set: dict[str, float] | None = None


@dataclass(frozen=True)
class TrainingData:
    """The rows to train on, the held-out rows to evaluate on, and the order of the former."""

    rows: Sequence[TokenizedRow]
    evaluation_rows: Sequence[TokenizedRow]
    plan: Plan


@dataclass(frozen=True)
class Callbacks:
    """What the loop calls between steps."""

    on_step: Callable[[MetricsRow], None]
    save_checkpoint: Callable[[TrainingProgress], None]
    memory_bytes: Callable[[], int]
    on_evaluation: Callable[[TrainingProgress], None] = lambda _: None
    classification_scores: Callable[[], ClassificationScores | None] = lambda: None


@dataclass(frozen=True)
class StepResult:
    """A step that is made. grad_norm: before clipping. seconds: of its passes and its update."""

    gradients: StepGradients
    grad_norm: float
    seconds: float


class Steps:
    """The steps of one run after `progress.step`, made one by one; `progress` follows them.

    `make` does a whole step, `gradients` and `finish` its two halves. Where several runs share a
    forward pass, the caller takes the rows of `begin` and fills the gradients itself.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        data: TrainingData,
        optimization: OptimizationSpec,
        progress: TrainingProgress,
        callbacks: Callbacks,
        ranks: Ranks = ALONE,
        divides: bool = True,
    ) -> None:
        """ranks: the processes that share each step. divides: they may cut a batch; else each takes
        whole ones."""
        self.objective, self.optimizer, self.data = objective, optimizer, data
        self.optimization, self.progress = optimization, progress
        self._callbacks = callbacks
        self._ranks, self._divides = ranks, divides
        path = objective.path
        self._scale = path.scale if isinstance(path, ScaledPath) else None
        # LoRA+ gives its groups different rates; the schedule scales them all alike.
        peak = optimization.learning_rate
        self._rate_factors = [group["lr"] / peak for group in optimizer.param_groups]
        progress.trained_parameters = sum(one.numel() for one in self.parameters)
        objective.path.model.train()

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """The weights that train, in the optimizer's order."""
        return parameters_of(self.optimizer)

    @property
    def are_done(self) -> bool:
        """Whether the run is complete: after its last step, or where early stopping ended it."""
        is_last = self.progress.step >= self.data.plan.total_steps
        return is_last or _should_stop_early(self.progress, self.optimization)

    def make(self) -> None:
        """One step. Raises NonFiniteLoss at a loss or gradient that is not finite, before it
        reaches the weights."""
        self.finish(self.gradients())

    def gradients(self) -> StepGradients:
        """The passes of the next step: they fill the gradients of the weights that train.

        Of several processes each makes its own share of the passes, with its own dropout, and all
        get the gradients of all.
        """
        started, step = time.perf_counter(), self.progress.step + 1
        _draw_anew(self.data.plan.seed, step, self._ranks)
        found = self.objective.gradients(step, self.begin())
        self._ranks.sum_gradients(self.parameters)
        return replace(found, seconds=time.perf_counter() - started)

    def begin(self) -> list[list[TokenizedRow]]:
        """Set the learning rate of the next step. Returns the rows of each of its passes: those of
        this process, where several share the step."""
        step = self.progress.step + 1
        rate = self._rate(step)
        for group, factor in zip(self.optimizer.param_groups, self._rate_factors, strict=True):
            group["lr"] = rate * factor
        batches = ([self.data.rows[i] for i in each] for each in self.data.plan.batches(step))
        return own_share(batches, self._ranks, self._divides)

    def finish(self, gradients: StepGradients) -> None:
        """Clip, update, evaluate, log and save, as they are due. Raises as `make` does."""
        # The clock of a run counts its own work, whoever else trains beside it.
        started = time.perf_counter() - gradients.seconds
        progress, spent = self.progress, self.progress.elapsed_s
        step, is_last = progress.step + 1, progress.step + 1 == self.data.plan.total_steps
        grad_norm = update(
            self.optimizer, gradients.loss, self.optimization.max_grad_norm, step, self._scale
        )
        result = StepResult(gradients, grad_norm, time.perf_counter() - started)
        progress.step = step
        progress.tokens += gradients.tokens
        progress.loss_sum += gradients.loss

        is_due = is_last or step % self.optimization.eval_every == 0
        evaluation = self._evaluate_and_score() if is_due else Evaluation()
        _record_evaluation(progress, evaluation)
        progress.elapsed_s = spent + time.perf_counter() - started
        memory = self._callbacks.memory_bytes()
        rate = self._rate(step)
        row = _metrics_row(progress, self.data.plan, rate, result, evaluation, memory)
        if self._scale is not None:
            row = row.model_copy(update={"skipped_steps": self._scale.skipped_steps})
        self._callbacks.on_step(row)
        if is_due:
            self._callbacks.on_evaluation(progress)
        is_best = self.optimization.save_best and progress.best_step == step
        if not is_last and (step % self.optimization.save_every == 0 or is_best):
            self._callbacks.save_checkpoint(progress)
        progress.elapsed_s = spent + time.perf_counter() - started

    def _rate(self, step: int) -> float:
        return learning_rate_at(step, self.data.plan.total_steps, self.optimization)

    def _evaluate_and_score(self) -> Evaluation:
        rows, batch_size = self.data.evaluation_rows, self.data.plan.batch_size
        found = self.objective.evaluate(rows, batch_size)
        if found.loss is None:
            return found
        return replace(found, scores=self._callbacks.classification_scores())


def _draw_anew(seed: int, step: int, ranks: Ranks) -> None:
    """Several processes draw the dropout of a step from its number, each its own.

    So a run of as many processes resumes exactly, and no process's random state needs saving.
    """
    if ranks.count > 1:
        import torch

        torch.manual_seed(((seed * 1_000_003 + step) * MOST_DEVICES + ranks.rank) % (1 << 63))


def _metrics_row(
    progress: TrainingProgress,
    plan: Plan,
    rate: float,
    result: StepResult,
    evaluation: Evaluation,
    memory_bytes: int,
) -> MetricsRow:
    """The row of a step for `metrics.jsonl`; the only place that makes one."""
    scores = evaluation.scores
    return MetricsRow(
        seq=0,  # the file's writer numbers its rows
        step=progress.step,
        epoch=round(plan.epoch_after(progress.step), 4),
        loss=result.gradients.loss,
        learning_rate=rate,
        grad_norm=result.grad_norm,
        tokens=progress.tokens,
        tokens_per_s=round(result.gradients.tokens / result.seconds, 1),
        elapsed_s=round(progress.elapsed_s, 3),
        memory_bytes=memory_bytes,
        total_steps=plan.total_steps,
        eval_loss=evaluation.loss,
        eval_accuracy=scores.accuracy if scores else None,
        eval_f1=scores.f1 if scores else None,
        **vars(result.gradients.figures),
        **vars(evaluation.figures),
    )


def _record_evaluation(progress: TrainingProgress, evaluation: Evaluation) -> None:
    if evaluation.loss is None:
        return
    progress.last_eval_loss = evaluation.loss
    if evaluation.scores is not None:
        progress.last_eval_accuracy = evaluation.scores.accuracy
        progress.last_eval_f1 = evaluation.scores.f1
    progress.last_eval_reward_accuracy = evaluation.figures.eval_reward_accuracy
    progress.last_eval_reward_margin = evaluation.figures.eval_reward_margin
    if progress.best_eval_loss is None or evaluation.loss < progress.best_eval_loss:
        progress.best_eval_loss = evaluation.loss
        progress.best_step = progress.step
        progress.evaluations_since_best = 0
    else:
        progress.evaluations_since_best += 1


def _should_stop_early(progress: TrainingProgress, optimization: OptimizationSpec) -> bool:
    """Early stopping: too many evaluations in a row without a new best loss."""
    patience = optimization.early_stopping
    return patience is not None and progress.evaluations_since_best >= patience
