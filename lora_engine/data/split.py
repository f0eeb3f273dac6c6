"""Training rows and evaluation rows, drawn by a seed so that no row stands on both sides.

What twins are, `twins` says. This module knows nothing of files, of formats or of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lora_engine.data.mixture import epoch_places, evaluated_places
from lora_engine.data.picked import Picked, picked
from lora_engine.data.row_store import row_keys
from lora_engine.data.rows import Dataset, Row
from lora_engine.data.seeded_order import sampled
from lora_engine.data.twins import first_twins
from lora_engine.errors import EngineError
from lora_engine.language import tr, tr_count

if TYPE_CHECKING:
    import numpy as np

TWINS_TOGETHER = "+twins"


def split_rows(
    dataset: Dataset, eval_fraction: float, seed: int
) -> tuple[Sequence[Row], Sequence[Row]]:
    """Training rows and evaluation rows, each in the order of the file.

    round(rows · eval_fraction) rows, at least one where the fraction is not 0, are drawn without
    replacement by a generator seeded with `seed`; at least one row is left for training.
    Twins stay together: where there are any, whole groups are drawn, as many as fit into that
    number, or the smallest one where none fits. Of several sets, each has its own share, and the
    training rows are those of one epoch, mixed by weight (`mixture`); the rows of an evaluation set
    are the evaluation rows, whatever the fraction.
    Raises EngineError where a fraction is asked of rows that are all the same, or is not in
    [0, 1).
    """
    if not 0.0 <= eval_fraction < 1.0:
        raise EngineError(
            tr(
                "An evaluation share of {eval_fraction} was asked for; it must be at least 0 "
                "and less than 1.",
                eval_fraction=eval_fraction,
            ),
            tr("Give a share such as 0.1."),
        )
    if dataset.parts:
        return _split_sets(dataset, eval_fraction, seed)
    if eval_fraction == 0.0:
        return dataset.rows, ()
    import numpy as np

    count, firsts = len(dataset.rows), first_twins(row_keys(dataset.rows))
    groups = int(np.count_nonzero(firsts == np.arange(count)))
    if groups < 2:
        raise _one_row(dataset)
    if groups == count:
        return _parted(dataset.rows, _drawn(count, eval_fraction, seed))
    return _parted(dataset.rows, _drawn_in_groups(firsts, eval_fraction, seed))


def _split_sets(
    dataset: Dataset, eval_fraction: float, seed: int
) -> tuple[Sequence[Row], Sequence[Row]]:
    """The rows of one epoch and the evaluation rows of several sets."""
    import numpy as np

    group_of = np.zeros(len(dataset.rows), np.int64)
    if eval_fraction > 0 and not any(part.is_evaluation for part in dataset.parts):
        firsts = first_twins(row_keys(dataset.rows))
        group_of = np.unique(firsts, return_inverse=True)[1]
    evaluated = evaluated_places(dataset.parts, group_of, eval_fraction, seed)
    if eval_fraction > 0 and not len(evaluated):
        raise _one_row(dataset)
    trained = epoch_places(dataset.parts, evaluated, seed)
    return Picked(dataset.rows, trained), Picked(dataset.rows, evaluated)


def _one_row(dataset: Dataset) -> EngineError:
    count = len(dataset.rows)
    return EngineError(
        tr_count(
            "{source} has one row, so none can be kept apart for evaluation.",
            "{source} has {count} rows that all say the same, so none can be kept apart for "
            "evaluation.",
            count,
            source=dataset.source,
        ),
        tr("Set the evaluation share to 0 or add rows."),
    )


def split_hash(dataset: Dataset, eval_fraction: float) -> str:
    """The dataset's hash, marked where twins decide the split: before, they were drawn apart.

    A run is only resumed, and its evaluation rows only drawn again, by the rule it began with.
    """
    decides = not dataset.parts and eval_fraction > 0 and count_twins(dataset.rows) > 0
    return dataset.content_hash + (TWINS_TOGETHER if decides else "")


def rows_never_seen(
    dataset: Dataset, eval_fraction: float, seed: int, data_hash: str | None
) -> Sequence[Row]:
    """The evaluation rows of a run whose provenance has this `data_hash`, without any twin.

    Runs from before twins were kept together drew each row by itself; of theirs, the rows that
    have a twin in training are left out. Raises EngineError as `split_rows` does.
    """
    training, evaluation = split_rows(dataset, eval_fraction, seed)
    if evaluation and not dataset.parts and data_hash == dataset.content_hash:
        drawn = _drawn(len(dataset.rows), eval_fraction, seed)
        training, evaluation = _parted(dataset.rows, drawn)
    if not evaluation:
        return evaluation
    import numpy as np

    unseen = ~np.isin(row_keys(evaluation), row_keys(training))
    return picked(evaluation, np.flatnonzero(unseen))


def count_twins(rows: Sequence[Row]) -> int:
    """How many rows repeat an earlier one."""
    import numpy as np

    return len(rows) - len(np.unique(row_keys(rows)))


def _wanted(count: int, eval_fraction: float) -> int:
    return min(count - 1, max(1, round(count * eval_fraction)))


def _drawn(count: int, eval_fraction: float, seed: int) -> np.ndarray:
    """Places of rows drawn one by one."""
    return sampled(count, _wanted(count, eval_fraction), seed)


def _drawn_in_groups(firsts: np.ndarray, eval_fraction: float, seed: int) -> np.ndarray:
    """Places of whole groups in a drawn order, at most as many rows as are wanted.

    firsts: for each row, the place of its group's first row. The groups are numbered in the order
    of their first rows.
    """
    import numpy as np

    wanted = _wanted(len(firsts), eval_fraction)
    _, group_of, sizes = np.unique(firsts, return_inverse=True, return_counts=True)
    is_drawn, rows = np.zeros(len(sizes), np.bool_), 0
    for group in sampled(len(sizes), len(sizes), seed).tolist():
        if rows + sizes[group] <= wanted:
            is_drawn[group] = True
            rows += sizes[group]
    if not rows:
        is_drawn[np.argmin(sizes)] = True
    return np.flatnonzero(is_drawn[group_of])


def _parted(rows: Sequence[Row], chosen: np.ndarray) -> tuple[Sequence[Row], Sequence[Row]]:
    """The rows that are not at these places, and those that are; both in the order of the file."""
    import numpy as np

    is_chosen = np.zeros(len(rows), np.bool_)
    is_chosen[chosen] = True
    return picked(rows, np.flatnonzero(~is_chosen)), picked(rows, np.flatnonzero(is_chosen))
