"""The plan of a run: how many steps, which rows in each, which learning rate. Pure arithmetic.

Everything is a function of the spec and the step number alone, so a resumed run continues with
exactly the rows and the rate the uninterrupted run would have had. Knows no model and no file.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lora_engine.spec import OptimizationSpec


@dataclass(frozen=True)
class Plan:
    """Steps and row order of one run; steps count from 1.

    groups: row indices that always share a forward pass, where a token budget or the order by
    length made them; their order is drawn anew each epoch. None: every row is drawn by itself.
    """

    rows: int
    batch_size: int
    gradient_accumulation: int
    total_steps: int
    seed: int
    groups: tuple[tuple[int, ...], ...] | None = None

    @property
    def rows_per_step(self) -> int:
        return self.batch_size * self.gradient_accumulation

    @property
    def steps_per_epoch(self) -> int:
        if self.groups is not None:
            return math.ceil(len(self.groups) / self.gradient_accumulation)
        return math.ceil(self.rows / self.rows_per_step)

    def epoch_after(self, step: int) -> float:
        """Passes over the data completed after `step`."""
        return step / self.steps_per_epoch

    def batches(self, step: int) -> list[list[int]]:
        """Row indices of each forward pass of `step`, in the seeded order of its epoch."""
        epoch, within = divmod(step - 1, self.steps_per_epoch)
        count = self.rows if self.groups is None else len(self.groups)
        order = list(range(count))
        random.Random(f"{self.seed}:{epoch}").shuffle(order)
        if self.groups is not None:
            start = within * self.gradient_accumulation
            return [list(self.groups[i]) for i in order[start : start + self.gradient_accumulation]]
        rows = order[within * self.rows_per_step : (within + 1) * self.rows_per_step]
        return [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]


def make_plan(lengths: Sequence[int], optimization: OptimizationSpec, seed: int) -> Plan:
    """The plan for training rows of these lengths in tokens."""
    groups = _groups(lengths, optimization, seed)
    plan = Plan(
        len(lengths), optimization.batch_size, optimization.gradient_accumulation, 1, seed, groups
    )
    epochs = max(1, math.ceil(plan.steps_per_epoch * optimization.epochs))
    return replace(plan, total_steps=optimization.max_steps or epochs)


def _groups(
    lengths: Sequence[int], optimization: OptimizationSpec, seed: int
) -> tuple[tuple[int, ...], ...] | None:
    """Rows put together once, in a seeded order or by length; None where that is not asked."""
    budget, by_length = optimization.max_tokens_per_batch, optimization.row_order == "by_length"
    if budget is None and not by_length:
        return None
    order = list(range(len(lengths)))
    random.Random(f"{seed}:groups").shuffle(order)
    if by_length:
        order.sort(key=lambda row: lengths[row])
    if budget is None:
        size = optimization.batch_size
        return tuple(tuple(order[i : i + size]) for i in range(0, len(order), size))
    return tuple(_filled(order, lengths, budget))


def _filled(order: Sequence[int], lengths: Sequence[int], budget: int) -> Iterator[tuple[int, ...]]:
    """Rows in order, cut before the one that would cross the budget; none is left out."""
    group: list[int] = []
    tokens = 0
    for row in order:
        if group and tokens + lengths[row] > budget:
            yield tuple(group)
            group, tokens = [], 0
        group.append(row)
        tokens += lengths[row]
    if group:
        yield tuple(group)


def learning_rate(step: int, total_steps: int, optimization: OptimizationSpec) -> float:
    """The rate of `step` (from 1): a linear rise, then cosine, linear or constant.

    cosine: η/2 · (1 + cos πt), linear: η · (1 − t), with t the share of the steps after the
    warm-up that lie behind. As transformers' schedules, whose step counts from 0.
    """
    peak = optimization.learning_rate
    warmup = math.ceil(optimization.warmup_ratio * total_steps)
    done = step - 1
    if done < warmup:
        return peak * (done + 1) / (warmup + 1)
    progress = (done - warmup) / max(1, total_steps - warmup)
    if optimization.schedule == "cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * progress))
    if optimization.schedule == "linear":
        return peak * (1.0 - progress)
    return peak
