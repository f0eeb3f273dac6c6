"""What a classifier got right, class by class: a table, and one sentence over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lora_engine.language import tr, translatable
from lora_engine.run_folder import ClassScore, ScoredUnit
from pages.shared import layout
from pages.shared.live import Column, table_value

COLUMNS = (
    Column(translatable("Class")),
    Column(translatable("Precision"), numeric=True, show=layout.number),
    Column(translatable("Recall"), numeric=True, show=layout.number),
    Column("F1", numeric=True, show=layout.number),
    Column(translatable("Support"), numeric=True, show=layout.count),
)
SAID = {
    "entities": translatable(
        "F1 {f1} of entities, where type and all words must be right (micro); "
        "precision {precision}, recall {recall}; accuracy of words {accuracy}."
    ),
    "words": translatable(
        "F1 {f1} the mean over the classes of words (macro); "
        "precision {precision}, recall {recall}; accuracy of words {accuracy}."
    ),
    "texts": translatable(
        "F1 {f1} the mean over the classes (macro); "
        "precision {precision}, recall {recall}; accuracy of texts {accuracy}."
    ),
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
    return tr(
        SAID[scored.unit],
        f1=layout.number(scored.f1),
        precision=layout.number(scored.precision),
        recall=layout.number(scored.recall),
        accuracy=layout.number(scored.accuracy),
    )
