"""The training loop: batches in, steps out, in the plain.

One optimizer step is: a forward and backward pass for each of its batches, the loss averaged over
the supervised tokens of the whole step, the gradients clipped, AdamW. Evaluation, logging and
saving happen between steps through the `Hooks` the worker hands in. The loop knows no files, and
not how a forward path turns rows into a loss.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from lora_engine.data import TokenizedRow
from lora_engine.errors import EngineError
from lora_engine.run_folder import MetricsRow
from lora_engine.spec import OptimizationSpec
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.plan import Plan, learning_rate


class NotFinite(EngineError):
    """The loss or the gradient stopped being a number; the weights are those before the step."""


@dataclass
class Position:
    """Where a run stands after some steps; what a checkpoint remembers beside the tensors.

    saved_step, saved_as: which step's weights lie in the result's folder, once one is written.
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
    saved_step: int | None = None
    saved_as: Literal["adapter", "model"] | None = None


@dataclass(frozen=True)
class Scores:
    """How a classifier does: both between 0 and 1, F1 the mean over the classes."""

    accuracy: float
    f1: float


@dataclass(frozen=True)
class Hooks:
    """What the loop calls out to; all run between steps."""

    should_stop: Callable[[], bool]
    on_step: Callable[[MetricsRow], None]
    save: Callable[[Position], None]
    memory_bytes: Callable[[], int]
    on_evaluation: Callable[[Position], None] = lambda _: None
    scores: Callable[[], Scores | None] = lambda: None


def evaluate(path: ForwardPath, rows: Sequence[TokenizedRow], batch_size: int) -> float | None:
    """Mean loss a supervised token over `rows`, or None where there are none."""
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


def train(
    path: ForwardPath,
    optimizer,
    rows: Sequence[TokenizedRow],
    evaluation_rows: Sequence[TokenizedRow],
    plan: Plan,
    optimization: OptimizationSpec,
    position: Position,
    hooks: Hooks,
) -> bool:
    """Run the steps after `position.step`, moving it along; True when all steps are done.

    False means the person asked to stop. Raises NotFinite at the first loss or gradient that is
    not a number, before the weights are touched by it.
    """
    base_rates = [group["lr"] / optimization.learning_rate for group in optimizer.param_groups]
    path.model.train()
    clock_start = time.perf_counter() - position.elapsed_s
    while position.step < plan.total_steps:
        if hooks.should_stop():
            return False
        step = position.step + 1
        rate = learning_rate(step, plan.total_steps, optimization)
        for group, factor in zip(optimizer.param_groups, base_rates, strict=True):
            group["lr"] = rate * factor
        batches = [[rows[i] for i in indices] for indices in plan.batches(step)]
        taken = _step(path, optimizer, batches, optimization.max_grad_norm, step)
        position.step = step
        position.tokens += taken.tokens
        position.loss_sum += taken.loss

        is_last = step == plan.total_steps
        is_due = is_last or step % optimization.eval_every == 0
        found = _evaluate_all(path, evaluation_rows, plan, hooks) if is_due else Evaluation()
        _remember_evaluation(position, found)
        position.elapsed_s = time.perf_counter() - clock_start
        hooks.on_step(_metrics_row(position, plan, rate, taken, found, hooks.memory_bytes()))
        if is_due:
            hooks.on_evaluation(position)
        is_best = optimization.save_best and position.best_step == step
        if not is_last and (step % optimization.save_every == 0 or is_best):
            hooks.save(position)
        if is_due and _should_stop_early(position, optimization):
            return True
    return True


@dataclass(frozen=True)
class StepTaken:
    """loss: mean of a supervised token (nats). grad_norm: before clipping."""

    loss: float
    grad_norm: float
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """What was found on the held-out rows; None where there are none, or it was not the time."""

    loss: float | None = None
    scores: Scores | None = None


def _evaluate_all(
    path: ForwardPath, rows: Sequence[TokenizedRow], plan: Plan, hooks: Hooks
) -> Evaluation:
    loss = evaluate(path, rows, plan.batch_size)
    return Evaluation(loss, hooks.scores() if loss is not None else None)


def _metrics_row(
    position: Position,
    plan: Plan,
    rate: float,
    taken: StepTaken,
    found: Evaluation,
    memory_bytes: int,
) -> MetricsRow:
    return MetricsRow(
        seq=0,
        step=position.step,
        epoch=round(plan.epoch_after(position.step), 4),
        loss=taken.loss,
        learning_rate=rate,
        grad_norm=taken.grad_norm,
        tokens=position.tokens,
        tokens_per_s=round(taken.tokens / taken.seconds, 1),
        elapsed_s=round(position.elapsed_s, 3),
        memory_bytes=memory_bytes,
        total_steps=plan.total_steps,
        eval_loss=found.loss,
        eval_accuracy=found.scores.accuracy if found.scores else None,
        eval_f1=found.scores.f1 if found.scores else None,
    )


def _step(
    path: ForwardPath,
    optimizer,
    batches_of_rows: Sequence[Sequence[TokenizedRow]],
    max_grad_norm: float,
    step: int,
) -> StepTaken:
    """One optimizer step over its batches."""
    import torch

    started = time.perf_counter()
    batches = [path.collate(rows) for rows in batches_of_rows]
    supervised = max(1, sum(batch.supervised for batch in batches))
    loss = 0.0
    for batch in batches:
        mean = path.summed_loss(batch) / supervised
        mean.backward()
        loss += float(mean.detach())
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    limit = max_grad_norm if max_grad_norm > 0 else math.inf
    grad_norm = float(torch.nn.utils.clip_grad_norm_(trained, limit))
    if not math.isfinite(loss) or not math.isfinite(grad_norm):
        optimizer.zero_grad(set_to_none=True)
        what = "loss" if not math.isfinite(loss) else "gradient"
        raise NotFinite(
            f"The {what} stopped being a number at step {step}; training was stopped there.",
            "The adapter of the step before is kept. Try a learning rate ten times smaller.",
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    tokens = sum(batch.tokens for batch in batches)
    return StepTaken(loss, grad_norm, tokens, time.perf_counter() - started)


def _remember_evaluation(position: Position, found: Evaluation) -> None:
    if found.loss is None:
        return
    position.last_eval_loss = found.loss
    if found.scores is not None:
        position.last_eval_accuracy = found.scores.accuracy
        position.last_eval_f1 = found.scores.f1
    if position.best_eval_loss is None or found.loss < position.best_eval_loss:
        position.best_eval_loss = found.loss
        position.best_step = position.step
        position.evaluations_since_best = 0
    else:
        position.evaluations_since_best += 1


def _should_stop_early(position: Position, optimization: OptimizationSpec) -> bool:
    patience = optimization.early_stopping
    return patience is not None and position.evaluations_since_best >= patience
