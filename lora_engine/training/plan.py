"""The plan of a run: how many steps it takes and which rows each step sees. Pure arithmetic.

Everything follows from the spec and the step number, so a resumed run sees exactly the rows that
the uninterrupted run would have seen. Knows no model and no file.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lora_engine.spec import ExtensionSpec, OptimizationSpec, added_steps


@dataclass(frozen=True)
class Plan:
    """The steps of one run and the order of its rows; steps count from 1.

    fixed_batches: row indices that share a forward pass in every epoch, where the spec asks for a
    token budget or an order by length; only the order of these batches is shuffled anew each
    epoch. None: the rows themselves are shuffled each epoch.
    """

    rows: int
    batch_size: int
    gradient_accumulation: int
    total_steps: int
    seed: int
    fixed_batches: tuple[tuple[int, ...], ...] | None = None

    @property
    def rows_per_step(self) -> int:
        return self.batch_size * self.gradient_accumulation

    @property
    def steps_per_epoch(self) -> int:
        if self.fixed_batches is not None:
            return math.ceil(len(self.fixed_batches) / self.gradient_accumulation)
        return math.ceil(self.rows / self.rows_per_step)

    def epoch_after(self, step: int) -> float:
        """Passes over the data completed after `step`."""
        return step / self.steps_per_epoch

    def batches(self, step: int) -> list[list[int]]:
        """Row indices of each forward pass of `step`, in the seeded order of its epoch."""
        epoch, within = divmod(step - 1, self.steps_per_epoch)
        count = self.rows if self.fixed_batches is None else len(self.fixed_batches)
        order = list(range(count))
        random.Random(f"{self.seed}:{epoch}").shuffle(order)
        if self.fixed_batches is not None:
            start = within * self.gradient_accumulation
            chosen = order[start : start + self.gradient_accumulation]
            return [list(self.fixed_batches[i]) for i in chosen]
        rows = order[within * self.rows_per_step : (within + 1) * self.rows_per_step]
        return [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]


def make_plan(
    lengths: Sequence[int],
    optimization: OptimizationSpec,
    seed: int,
    extension: ExtensionSpec | None = None,
    keeps_batches: bool = False,
) -> Plan:
    """The plan for training rows of these lengths in tokens.

    keeps_batches: the same rows share a forward pass in every epoch, and none is alone in its
    batch where the batch size counts.
    extension: where the run extends another; its steps are numbered on, and it sees the rows that
    a longer run would have seen.
    """
    plan = Plan(
        rows=len(lengths),
        batch_size=optimization.batch_size,
        gradient_accumulation=optimization.gradient_accumulation,
        total_steps=1,  # set below: it takes the plan's own steps_per_epoch
        seed=seed,
        fixed_batches=_fixed_batches(lengths, optimization, seed, keeps_batches),
    )
    if extension is not None:
        return replace(plan, total_steps=extension.total_steps(plan.steps_per_epoch))
    epochs = added_steps(optimization.epochs, plan.steps_per_epoch)
    return replace(plan, total_steps=optimization.max_steps or epochs)


def _fixed_batches(
    lengths: Sequence[int], optimization: OptimizationSpec, seed: int, keeps_batches: bool
) -> tuple[tuple[int, ...], ...] | None:
    """Batches made once, in a seeded order or by length; None where nothing asks for them."""
    budget, by_length = optimization.max_tokens_per_batch, optimization.row_order == "by_length"
    if budget is None and not by_length and not keeps_batches:
        return None
    order = list(range(len(lengths)))
    random.Random(f"{seed}:groups").shuffle(order)
    if by_length:
        order.sort(key=lambda row: lengths[row])
    if budget is None:
        size = optimization.batch_size
        starts = list(range(0, len(order), size))
        if keeps_batches and len(starts) > 1 and len(order) - starts[-1] == 1:
            starts.pop()  # the last row joins the batch before it
        ends = [*starts[1:], len(order)]
        return tuple(tuple(order[i:end]) for i, end in zip(starts, ends, strict=True))
    return tuple(_batches_within(budget, order, lengths))


def _batches_within(
    budget: int, order: Sequence[int], lengths: Sequence[int]
) -> Iterator[tuple[int, ...]]:
    """Rows in `order`, cut before the row that would exceed the token budget.

    A row longer than the budget makes a batch by itself, so no row is left out.
    """
    batch: list[int] = []
    tokens = 0
    for row in order:
        if batch and tokens + lengths[row] > budget:
            yield tuple(batch)
            batch, tokens = [], 0
        batch.append(row)
        tokens += lengths[row]
    if batch:
        yield tuple(batch)
