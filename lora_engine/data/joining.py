"""Several sets made one dataset: a mixture, and an evaluation set beside what is trained on.

Row numbers go through all sets, formats must go together, and rows that are evaluated are taken
out of what is trained on. Which rows make an epoch is `mixture`'s question. This module knows
nothing of files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lora_engine.data.filters import listed, summed
from lora_engine.data.joined_rows import JoinedRows
from lora_engine.data.picked import Picked
from lora_engine.data.row_store import row_keys, row_numbers
from lora_engine.data.rows import Dataset, SetPart
from lora_engine.data.table import count_rows
from lora_engine.errors import EngineError
from lora_engine.language import tr

if TYPE_CHECKING:
    import numpy as np

VERSION = 1  # of how rows are joined, split and mixed
CHATS = ("messages", "sharegpt", "alpaca", "prompt_completion")
CONTINUED = "text"
CLASSIFIED = ("classification", "token_classification")
LISTED = 5


@dataclass(frozen=True)
class WeightedSet:
    """A set that was read, and its weight in the mixture."""

    dataset: Dataset
    weight: float


def joined(sets: Sequence[WeightedSet], evaluation: Dataset | None) -> Dataset:
    """One dataset of all sets, the evaluation set last.

    Raises EngineError where the formats do not go together, where the evaluation set has classes
    of its own, or no row of a set is left to train on
    because all are evaluated.
    """
    leaks: list[str] = []
    trained = [one.dataset for one in sets]
    if evaluation is not None:
        _refuse_new_classes(trained, evaluation)
        keys = row_keys(evaluation.rows)
        trained = [_without(one, keys, leaks) for one in trained]
    everything = [*trained, *([evaluation] if evaluation is not None else [])]
    added = _added_numbers(everything)
    whole = sum(one.weight for one in sets)
    weights = [*(one.weight / whole for one in sets), 0.0]
    parts, start = [], 0
    for place, one in enumerate(everything):
        end = start + len(one.rows)
        is_evaluation = place >= len(trained)
        parts.append(SetPart(one.source, start, end, weights[place], added[place], is_evaluation))
        start = end
    return Dataset(
        source=" + ".join(dict.fromkeys(one.source for one in trained)),
        format=_format_of(everything),
        rows=JoinedRows([one.rows for one in everything], added),
        content_hash=_hash(everything, parts),
        warnings=(*leaks, *_named(everything, "warnings")),
        notes=(*_numbering(parts), *_filtered(trained), *_named(everything, "notes")),
        supervised=next((one.supervised for one in everything if one.supervised), ""),
        parts=tuple(parts),
        removed=summed([one.removed for one in trained]),
    )


def _refuse_new_classes(trained: Sequence[Dataset], evaluation: Dataset) -> None:
    """Raises EngineError for classes that are evaluated and never learned."""
    known = set().union(*(_classes(one) for one in trained))
    if unknown := sorted(_classes(evaluation) - known) if known else []:
        more = ", ..." if len(unknown) > LISTED else ""
        raise EngineError(
            tr(
                "{source} has classes that no row to train on has: {unknown}{more}.",
                source=evaluation.source,
                unknown=", ".join(unknown[:LISTED]),
                more=more,
            ),
            tr("Correct the classes, or leave these rows out of the evaluation set."),
        )


def _classes(dataset: Dataset) -> set[str]:
    if dataset.format not in CLASSIFIED:
        return set()
    of_texts = {row.label for row in dataset.rows if row.label is not None}
    return of_texts | {tag for row in dataset.rows for tag in row.tags}


def _without(dataset: Dataset, evaluated: np.ndarray, leaks: list[str]) -> Dataset:
    """The dataset without the rows that are evaluated too, which are told."""
    import numpy as np

    leaked = np.isin(row_keys(dataset.rows), evaluated)
    if not leaked.any():
        return dataset
    numbers = row_numbers(dataset.rows)[leaked].tolist()
    leaks.append(
        tr(
            "In the evaluation set too, and so not trained on: {count_rows} of {source}.",
            count_rows=count_rows(numbers),
            source=dataset.source,
        )
    )
    if leaked.all():
        raise EngineError(
            tr(
                "All {count} rows of {source} are in the evaluation set too, so none is left "
                "to train on.",
                count=f"{len(dataset.rows):,}",
                source=dataset.source,
            ),
            tr("Name another evaluation set, or leave it out and raise dataset.eval_fraction."),
        )
    return replace(dataset, rows=Picked(dataset.rows, np.flatnonzero(~leaked)))


def _added_numbers(sets: Sequence[Dataset]) -> list[int]:
    """What is added to the numbers of each set: the last number before it."""
    added, last = [], 0
    for one in sets:
        added.append(last)
        last += one.rows[-1].number
    return added


def _format_of(sets: Sequence[Dataset]) -> str:
    """The format of all sets together. Raises EngineError where one model cannot learn them."""
    formats = list(dict.fromkeys(one.format for one in sets))
    if len(formats) == 1:
        return formats[0]
    others = [name for name in formats if name not in (*CHATS, CONTINUED)]
    if others:
        found = ", ".join(f"{one.source}: {one.format}" for one in sets)
        raise EngineError(
            tr(
                "These sets cannot be mixed or evaluated together, because rows of the "
                "format {others} are learned in a way of their own ({found}).",
                others=others[0],
                found=found,
            ),
            tr("Give sets of one format, or chats and plain text."),
        )
    return "messages and text" if CONTINUED in formats else "messages"


def _hash(sets: Sequence[Dataset], parts: Sequence[SetPart]) -> str:
    found = [
        [one.content_hash, len(one.rows), part.weight, part.is_evaluation]
        for one, part in zip(sets, parts, strict=True)
    ]
    return hashlib.sha256(json.dumps([VERSION, found]).encode()).hexdigest()[:16]


def _named(sets: Sequence[Dataset], what: str) -> list[str]:
    """The warnings or notes of every set, each with the set's name."""
    return [f"{one.source}: {text}" for one in sets for text in getattr(one, what)]


def _filtered(sets: Sequence[Dataset]) -> list[str]:
    """What the filters left out of each, where there are several."""
    told = [
        tr("{source}: left out are {listed}.", source=one.source, listed=listed(one.removed))
        for one in sets
        if one.removed
    ]
    return told if len(sets) > 1 else []


def _numbering(parts: Sequence[SetPart]) -> list[str]:
    later = [
        tr("row 1 of {source} is row {added}", source=part.source, added=f"{part.added + 1:,}")
        for part in parts
        if part.added
    ]
    return (
        [tr("Rows are numbered through all sets: {later}.", later=", ".join(later))]
        if later
        else []
    )
