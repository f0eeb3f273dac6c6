"""The plan of a run: how many steps it takes and which rows each step sees. Pure arithmetic.

Everything follows from the spec and the step number, so a resumed run sees exactly the rows that
the uninterrupted run would have seen. Rows are numbers in arrays: 8 bytes a row and epoch. Knows no
model and no file.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import overload

import numpy as np

from lora_engine.data.seeded_order import shuffled
from lora_engine.spec import ExtensionSpec, OptimizationSpec, added_steps


class FixedBatches(Sequence[tuple[int, ...]]):
    """Batches made once: rows in an order, and where in it each batch ends."""

    def __init__(self, order: np.ndarray, ends: np.ndarray) -> None:
        self._order, self._ends = order, ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> tuple[int, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[int, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[int, ...] | list[tuple[int, ...]]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = range(len(self))[index]
        start = int(self._ends[place - 1]) if place else 0
        return tuple(self._order[start : int(self._ends[place])].tolist())

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, FixedBatches)
            and np.array_equal(self._order, other._order)
            and np.array_equal(self._ends, other._ends)
        )

    def heaviest(self, lengths: np.ndarray) -> int:
        """Tokens of the largest batch, given those of each row."""
        starts = np.concatenate([[0], self._ends[:-1]])
        return int(np.add.reduceat(lengths[self._order], starts).max())


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
    fixed_batches: FixedBatches | None = None

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
        order = _order(count, f"{self.seed}:{epoch}")
        if self.fixed_batches is not None:
            start = within * self.gradient_accumulation
            chosen = order[start : start + self.gradient_accumulation]
            return [list(self.fixed_batches[i]) for i in chosen.tolist()]
        rows = order[within * self.rows_per_step : (within + 1) * self.rows_per_step].tolist()
        return [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]


@lru_cache(maxsize=2)
def _order(count: int, seed: str) -> np.ndarray:
    """The order of one epoch, which all of its steps ask for."""
    order = shuffled(count, seed)
    order.flags.writeable = False
    return order


def make_plan(
    lengths: Sequence[int] | np.ndarray,
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
        fixed_batches=_fixed_batches(np.asarray(lengths), optimization, seed, keeps_batches),
    )
    if extension is not None:
        return replace(plan, total_steps=extension.total_steps(plan.steps_per_epoch))
    epochs = added_steps(optimization.epochs, plan.steps_per_epoch)
    return replace(plan, total_steps=optimization.max_steps or epochs)


def _fixed_batches(
    lengths: np.ndarray, optimization: OptimizationSpec, seed: int, keeps_batches: bool
) -> FixedBatches | None:
    """Batches made once, in a seeded order or by length; None where nothing asks for them."""
    budget, by_length = optimization.max_tokens_per_batch, optimization.row_order == "by_length"
    if budget is None and not by_length and not keeps_batches:
        return None
    order = shuffled(len(lengths), f"{seed}:groups")
    if by_length:
        order = order[np.argsort(lengths[order], kind="stable")]
    if budget is not None:
        return FixedBatches(order, _ends_within(budget, lengths[order]))
    size = optimization.batch_size
    ends = np.minimum(np.arange(size, len(order) + size, size), len(order))
    if keeps_batches and len(ends) > 1 and ends[-1] - ends[-2] == 1:
        ends = np.append(ends[:-2], len(order))  # the last row joins the batch before it
    return FixedBatches(order, ends)


def _ends_within(budget: int, lengths: np.ndarray) -> np.ndarray:
    """Where each batch ends: before the row that would exceed the token budget.

    A row longer than the budget makes a batch by itself, so no row is left out.
    """
    ends = array("q")
    start = tokens = 0
    for place, length in enumerate(lengths.tolist()):
        if place > start and tokens + length > budget:
            ends.append(place)
            start, tokens = place, 0
        tokens += length
    ends.append(len(lengths))
    return np.array(ends)
