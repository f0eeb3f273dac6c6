"""The plan of a run: how many steps, which rows in each, which learning rate. Pure arithmetic.

Everything is a function of the spec and the step number alone, so a resumed run continues with
exactly the rows and the rate the uninterrupted run would have had. Knows no model and no file.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from lora_engine.training.spec import OptimizationSpec


@dataclass(frozen=True)
class Plan:
    """Steps and row order of one run; steps count from 1."""

    rows: int
    batch_size: int
    gradient_accumulation: int
    total_steps: int
    seed: int

    @property
    def rows_per_step(self) -> int:
        return self.batch_size * self.gradient_accumulation

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.rows / self.rows_per_step)

    def epoch_after(self, step: int) -> float:
        """Passes over the data completed after `step`."""
        return step / self.steps_per_epoch

    def batches(self, step: int) -> list[list[int]]:
        """Row indices of each forward pass of `step`, in the seeded order of its epoch."""
        epoch, within = divmod(step - 1, self.steps_per_epoch)
        order = list(range(self.rows))
        random.Random(f"{self.seed}:{epoch}").shuffle(order)
        rows = order[within * self.rows_per_step : (within + 1) * self.rows_per_step]
        return [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]


def make_plan(rows: int, optimization: OptimizationSpec, seed: int) -> Plan:
    """The plan for `rows` training rows."""
    rows_per_step = optimization.batch_size * optimization.gradient_accumulation
    steps_per_epoch = math.ceil(rows / rows_per_step)
    total = optimization.max_steps or max(1, math.ceil(steps_per_epoch * optimization.epochs))
    return Plan(rows, optimization.batch_size, optimization.gradient_accumulation, total, seed)


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
