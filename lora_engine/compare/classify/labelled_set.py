"""A classifier and its base on rows whose classes are known: scores, confusion matrix, each row.

Knows nothing of where the rows come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lora_engine.compare.classify.classifier import BATCH_ROWS, COLUMNS, Classifier
from lora_engine.csv_text import csv_text
from lora_engine.data import Dataset, Row
from lora_engine.data.class_labels import FORMATS, label_rows
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.run_folder import ClassScore, ScoredUnit
from lora_engine.training.forward.classification_scores import (
    ClassificationScores,
    LabelledRow,
    confusion_matrix,
    scores_of,
)
from lora_engine.training.forward.classifier_path import labelled_rows

MAX_ROWS = 2_000
NAMED = 5  # classes that an error names before it only counts


@dataclass(frozen=True)
class SetColumn:
    """A column's scores on the set, and its confusion matrix: true classes in rows, predicted in
    columns."""

    name: str
    scores: ClassificationScores
    confusion: list[list[int]]

    @property
    def unit(self) -> ScoredUnit:
        return self.scores.unit

    @property
    def classes(self) -> tuple[ClassScore, ...]:
        return self.scores.classes

    def as_json(self) -> dict[str, Any]:
        scores = asdict(self.scores) | {
            "classes": [one.model_dump() for one in self.scores.classes]
        }
        return {"name": self.name, **scores, "confusion": self.confusion}


@dataclass(frozen=True)
class SetRow:
    """A row of the set: its true classes and each column's predictions, one a word or one in all.

    words: that are labelled; the whole text where texts are classified.
    """

    number: int
    words: tuple[str, ...]
    true: tuple[str, ...]
    predicted: dict[str, tuple[str, ...]]

    @property
    def text(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True)
class SetResult:
    """A classifier and its base on a set. cut: the numbers of rows whose end was not read."""

    labels: tuple[str, ...]
    columns: tuple[SetColumn, ...]
    rows: tuple[SetRow, ...]
    cut: tuple[int, ...]
    left_out: int

    def as_json(self) -> dict[str, Any]:
        return {
            "labels": list(self.labels),
            "rows": len(self.rows),
            "cut_rows": list(self.cut),
            "left_out": self.left_out,
            "columns": [one.as_json() for one in self.columns],
            "predictions": [{**asdict(row), "text": row.text} for row in self.rows],
        }

    def as_csv(self) -> str:
        """One line a labelled text or word; cells that a spreadsheet would run are quoted."""
        names = [column.name for column in self.columns]
        lines: list[tuple[object, ...]] = [("row", "text", "true", *names)]
        for row in self.rows:
            for place, true in enumerate(row.true):
                predicted = [row.predicted[name][place] for name in names]
                lines.append((row.number, row.words[place], true, *predicted))
        return csv_text(lines)


def refuse_other_rows(classifier: Classifier, dataset: Dataset) -> None:
    """Raises EngineError where the rows are not of this classifier's task, or have a
    class that it does not know, naming both sides."""
    facts = classifier.facts
    if dataset.format != FORMATS[facts.task]:
        needed = tr("tokens and tags") if facts.classes.of_words else tr("text and label")
        raise EngineError(
            tr(
                "{source} is in the format {format}; the adapter was trained for {task}, "
                "which needs {needed}.",
                source=dataset.source,
                format=dataset.format,
                task=facts.task,
                needed=needed,
            ),
            tr("Give rows of that format, or an adapter for these."),
        )
    known = set(facts.classes.labels)
    there = {one for row in dataset.rows for one in _classes(row)}
    unknown = sorted(there - known)
    if unknown:
        others = len(unknown) - NAMED
        more = tr(" and {count} more", count=f"{others:,}") if others > 0 else ""
        raise EngineError(
            tr(
                "{source} has classes that the adapter does not know: {unknown}{more}. Its "
                "classes: {labels}.",
                source=dataset.source,
                unknown=", ".join(unknown[:NAMED]),
                more=more,
                labels=", ".join(facts.classes.labels[:40]),
            ),
            tr("Rename them to the adapter's classes, or leave their rows out."),
        )


def predict_rows(classifier: Classifier, rows: Sequence[Row]) -> Iterator[int | SetResult]:
    """How many rows are done, batch by batch, and last the result of at most MAX_ROWS rows.

    The rows' classes must be the classifier's (`refuse_other_rows`). Raises EngineError where no
    row keeps a label within the model's limit.
    """
    facts = classifier.facts
    given = list(rows[:MAX_ROWS])
    made = label_rows(given, classifier.tokenizer, classifier.max_length, facts.classes.labels)
    if not made.rows:
        raise EngineError(
            tr(
                "No row has a label within {max_length} tokens.",
                max_length=f"{classifier.max_length:,}",
            ),
            tr("Give shorter rows."),
        )
    found: dict[str, list[LabelledRow]] = {name: [] for name in COLUMNS}
    for start in range(0, len(made.rows), BATCH_ROWS):
        some = made.rows[start : start + BATCH_ROWS]
        for name in COLUMNS:
            with classifier.column(name) as path:
                found[name] += labelled_rows(path, some, BATCH_ROWS)
                path.model.eval()
        yield start + len(some)
    by_number = {row.number: row for row in given}
    shown = [
        _set_row(by_number[row.number], {name: found[name][place] for name in COLUMNS})
        for place, row in enumerate(made.rows)
    ]
    labels = facts.classes.labels
    yield SetResult(
        labels=labels,
        columns=tuple(_column(name, found[name], classifier) for name in COLUMNS),
        rows=tuple(shown),
        cut=tuple(made.cut),
        left_out=len(rows) - len(made.rows),
    )


def _column(name: str, rows: Sequence[LabelledRow], classifier: Classifier) -> SetColumn:
    classes = classifier.facts.classes
    scores = scores_of(rows, classes)
    assert scores is not None, "rows without a label are left out"
    return SetColumn(name, scores, confusion_matrix(rows, classes.labels))


def _set_row(row: Row, found: dict[str, LabelledRow]) -> SetRow:
    true = next(iter(found.values())).true
    words = row.words[: len(true)] if row.words else (row.text or "",)
    return SetRow(row.number, words, true, {name: one.predicted for name, one in found.items()})


def _classes(row: Row) -> tuple[str, ...]:
    return row.tags if row.label is None else (row.label,)
