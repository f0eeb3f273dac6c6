"""What a classifier got right, class by class: a table, and one sentence over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lora_engine.run_folder import ClassScore, ScoredUnit
from pages.shared import layout
from pages.shared.live import Column, table_value

COLUMNS = (
    Column("Class"),
    Column("Precision", numeric=True, show=layout.number),
    Column("Recall", numeric=True, show=layout.number),
    Column("F1", numeric=True, show=layout.number),
    Column("Support", numeric=True, show=layout.count),
)
MEANT = {
    "entities": "of entities, where type and all words must be right (micro)",
    "words": "the mean over the classes of words (macro)",
    "texts": "the mean over the classes (macro)",
}


class Scored(Protocol):
    """Scores of a run's evaluation, or of a set that was tried."""

    @property
    def unit(self) -> ScoredUnit: ...

    @property
    def accuracy(self) -> float: ...

    @property
    def precision(self) -> float: ...

    @property
    def recall(self) -> float: ...

    @property
    def f1(self) -> float: ...


def table(classes: Sequence[ClassScore]) -> str:
    """A line for each class, as a live table shows it."""
    rows = [(one.name, one.precision, one.recall, one.f1, one.support) for one in classes]
    return table_value(COLUMNS, rows)


def in_words(scored: Scored) -> str:
    """F1 with what it counts, precision, recall and accuracy."""
    counted = "texts" if scored.unit == "texts" else "words"
    return (
        f"F1 {layout.number(scored.f1)} {MEANT[scored.unit]}; "
        f"precision {layout.number(scored.precision)}, recall {layout.number(scored.recall)}; "
        f"accuracy of {counted} {layout.number(scored.accuracy)}."
    )
