"""The training loop: batches in, optimizer steps out.

One optimizer step runs a forward and a backward pass for each of its batches (gradient
accumulation), averages the loss over the supervised tokens of the whole step, clips the gradients
and lets the optimizer update the weights. Evaluation, logging and checkpoints come between steps,
through the callbacks the caller passes. The loop knows no files, and not how a forward path turns
rows into a loss.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lora_engine.data import TokenizedRow
from lora_engine.errors import EngineError
from lora_engine.run_folder import MetricsRow
from lora_engine.spec import OptimizationSpec
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.forward.classifier_path import ClassificationScores
from lora_engine.training.learning_rate_schedule import learning_rate_at
from lora_engine.training.plan import Plan

if TYPE_CHECKING:
    import torch


class NonFiniteLoss(EngineError):
    """The loss or the gradient is no longer finite; the weights are those before the step."""


@dataclass
class TrainingProgress:
    """How far a run has come; a checkpoint saves all of it but the last two fields.

    loss_sum: of the steps' training losses. start_eval_loss: before the first step, of an adapter
    that the run goes on from. saved_step, saved_as: which step's weights the
    result folder holds, and of which kind; None until a result is written.
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
    start_eval_loss: float | None = None
    saved_step: int | None = None
    saved_as: Literal["adapter", "model"] | None = None


@dataclass(frozen=True)
class TrainingData:
    """The rows to train on, the held-out rows to evaluate on, and the order of the former."""

    rows: Sequence[TokenizedRow]
    evaluation_rows: Sequence[TokenizedRow]
    plan: Plan


@dataclass(frozen=True)
class Callbacks:
    """What the loop calls between steps."""

    should_stop: Callable[[], bool]
    on_step: Callable[[MetricsRow], None]
    save_checkpoint: Callable[[TrainingProgress], None]
    memory_bytes: Callable[[], int]
    on_evaluation: Callable[[TrainingProgress], None] = lambda _: None
    classification_scores: Callable[[], ClassificationScores | None] = lambda: None


@dataclass(frozen=True)
class StepResult:
    """loss: mean over the step's supervised tokens (nats). grad_norm: before clipping."""

    loss: float
    grad_norm: float
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """Figures on the held-out rows; None where there are no such rows, or no evaluation is due."""

    loss: float | None = None
    scores: ClassificationScores | None = None


def train(
    path: ForwardPath,
    optimizer: torch.optim.Optimizer,
    data: TrainingData,
    optimization: OptimizationSpec,
    progress: TrainingProgress,
    callbacks: Callbacks,
) -> bool:
    """Run the steps after `progress.step`, updating `progress`; True once the run is complete.

    A run is complete after its last step, or when early stopping ends it. False means that
    `should_stop` asked for the end. Raises NonFiniteLoss at the first loss or gradient that is not
    finite, before it reaches the weights.
    """
    plan = data.plan
    # LoRA+ gives its groups different rates; the schedule scales them all alike.
    rate_factors = [group["lr"] / optimization.learning_rate for group in optimizer.param_groups]
    path.model.train()
    clock_start = time.perf_counter() - progress.elapsed_s
    if _should_stop_early(progress, optimization):  # resumed where it had stopped already
        return True
    while progress.step < plan.total_steps:
        if callbacks.should_stop():
            return False
        step = progress.step + 1
        rate = learning_rate_at(step, plan.total_steps, optimization)
        for group, factor in zip(optimizer.param_groups, rate_factors, strict=True):
            group["lr"] = rate * factor
        batches = [[data.rows[i] for i in indices] for indices in plan.batches(step)]
        result = _optimizer_step(path, optimizer, batches, optimization.max_grad_norm, step)
        progress.step = step
        progress.tokens += result.tokens
        progress.loss_sum += result.loss

        is_last = step == plan.total_steps
        is_due = is_last or step % optimization.eval_every == 0
        evaluation = _evaluate_and_score(path, data, callbacks) if is_due else Evaluation()
        _record_evaluation(progress, evaluation)
        progress.elapsed_s = time.perf_counter() - clock_start
        memory = callbacks.memory_bytes()
        callbacks.on_step(_metrics_row(progress, plan, rate, result, evaluation, memory))
        if is_due:
            callbacks.on_evaluation(progress)
        is_best = optimization.save_best and progress.best_step == step
        if not is_last and (step % optimization.save_every == 0 or is_best):
            callbacks.save_checkpoint(progress)
        if is_due and _should_stop_early(progress, optimization):
            return True
    return True


def evaluate(path: ForwardPath, rows: Sequence[TokenizedRow], batch_size: int) -> float | None:
    """The mean loss over the supervised tokens of `rows` (nats), or None where there are none."""
    import torch

    if not rows:
        return None
    total, count = 0.0, 0
    path.model.eval()
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            batch = path.collate(rows[start : start + batch_size])
            total += float(path.summed_loss(batch))
            count += batch.supervised
    path.model.train()
    return total / max(1, count)


def _optimizer_step(
    path: ForwardPath,
    optimizer: torch.optim.Optimizer,
    batches_of_rows: Sequence[Sequence[TokenizedRow]],
    max_grad_norm: float,
    step: int,
) -> StepResult:
    """Gradient accumulation over the batches, gradient clipping, and the update."""
    import torch

    started = time.perf_counter()
    batches = [path.collate(rows) for rows in batches_of_rows]
    supervised = max(1, sum(batch.supervised for batch in batches))
    loss = 0.0
    for batch in batches:
        # Divided by the tokens of the whole step: each supervised token weighs the same, however
        # they are spread over the batches.
        mean = path.summed_loss(batch) / supervised
        mean.backward()
        loss += float(mean.detach())
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    limit = max_grad_norm if max_grad_norm > 0 else math.inf  # 0: measure the norm, do not clip
    grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
    if not math.isfinite(loss) or not math.isfinite(grad_norm):
        optimizer.zero_grad(set_to_none=True)
        what = "loss" if not math.isfinite(loss) else "gradient"
        raise NonFiniteLoss(
            f"The {what} stopped being a number at step {step}; training was stopped there.",
            "The adapter of the step before is kept. Try a learning rate ten times smaller.",
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    tokens = sum(batch.tokens for batch in batches)
    return StepResult(loss, grad_norm, tokens, time.perf_counter() - started)


def _evaluate_and_score(path: ForwardPath, data: TrainingData, callbacks: Callbacks) -> Evaluation:
    loss = evaluate(path, data.evaluation_rows, data.plan.batch_size)
    return Evaluation(loss, callbacks.classification_scores() if loss is not None else None)


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
        loss=result.loss,
        learning_rate=rate,
        grad_norm=result.grad_norm,
        tokens=progress.tokens,
        tokens_per_s=round(result.tokens / result.seconds, 1),
        elapsed_s=round(progress.elapsed_s, 3),
        memory_bytes=memory_bytes,
        total_steps=plan.total_steps,
        eval_loss=evaluation.loss,
        eval_accuracy=scores.accuracy if scores else None,
        eval_f1=scores.f1 if scores else None,
    )


def _record_evaluation(progress: TrainingProgress, evaluation: Evaluation) -> None:
    if evaluation.loss is None:
        return
    progress.last_eval_loss = evaluation.loss
    if evaluation.scores is not None:
        progress.last_eval_accuracy = evaluation.scores.accuracy
        progress.last_eval_f1 = evaluation.scores.f1
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
