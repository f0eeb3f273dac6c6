"""How many rows of each set a run trains on and evaluates: what filters, the split and the weights
make of them.

Knows nothing of tokens; rows that lose their answer to the limit are still counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lora_engine.data.picked import Picked
from lora_engine.data.rows import Dataset, Row, SetPart
from lora_engine.data.split import split_rows
from lora_engine.errors import EngineError


@dataclass(frozen=True)
class SetCounts:
    """One set. share: of an epoch's rows, from 0 to 1. rows: after the filters. trained: different
    rows of it that are trained on. epoch: its rows in an epoch, repeats counted. evaluated: rows
    kept apart."""

    source: str
    share: float
    rows: int
    trained: int
    epoch: int
    evaluated: int


@dataclass(frozen=True)
class RowCounts:
    """All sets. problem: why the rows cannot be parted, empty where they can."""

    training: int
    evaluation: int
    sets: tuple[SetCounts, ...]
    problem: str = ""


def count_rows_of(dataset: Dataset, eval_fraction: float, seed: int) -> RowCounts:
    """The counts of a run with this share and seed."""
    try:
        training, evaluation = split_rows(dataset, eval_fraction, seed)
        problem = ""
    except EngineError as error:  # a preview shows the rows all the same
        training, evaluation, problem = dataset.rows, (), str(error)
    counts = len(training), len(evaluation)
    sets = [_counts(part, training, evaluation) for part in dataset.parts]
    if not sets:
        sets = [SetCounts(dataset.source, 1.0, len(dataset.rows), counts[0], *counts)]
    return RowCounts(*counts, tuple(sets), problem)


def _counts(part: SetPart, training: Sequence[Row], evaluation: Sequence[Row]) -> SetCounts:
    import numpy as np

    def within(rows: Sequence[Row]) -> np.ndarray:
        places = rows.places if isinstance(rows, Picked) else np.arange(len(rows))
        return places[(places >= part.start) & (places < part.end)]

    epoch = within(training)
    trained, evaluated = len(np.unique(epoch)), len(within(evaluation))
    return SetCounts(part.source, part.weight, part.rows, trained, len(epoch), evaluated)
