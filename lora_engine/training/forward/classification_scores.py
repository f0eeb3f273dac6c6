"""What a classifier got right on labelled rows: accuracy, F1, and each class on its own.

Tags that mean entities (BIO and its kin) are scored by entity, as seqeval does: one counts where
its type and all of its words are right. Other classes are scored by word or by text, as
scikit-learn does. Knows nothing of how the predictions were made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lora_engine.data.class_labels import Classes
from lora_engine.data.entity_spans import Span, entity_spans
from lora_engine.run_folder import ClassScore, ScoredUnit


@dataclass(frozen=True)
class LabelledRow:
    """A row's true classes and the predicted ones: one for a text, else one a labelled word."""

    true: tuple[str, ...]
    predicted: tuple[str, ...]


@dataclass(frozen=True)
class ClassificationScores:
    """All between 0 and 1. accuracy: of texts or words, also where entities are scored.

    precision, recall, f1: of entities taken together (micro), else the mean over the classes that
    occur in either (macro). classes: each class, or each type of entity.
    """

    accuracy: float
    f1: float
    precision: float = 0.0
    recall: float = 0.0
    unit: ScoredUnit = "texts"
    classes: tuple[ClassScore, ...] = ()


def scores_of(rows: Sequence[LabelledRow], classes: Classes) -> ClassificationScores | None:
    """The scores of the predicted classes; None where no row has a label."""
    pairs = [pair for row in rows for pair in zip(row.true, row.predicted, strict=True)]
    if not pairs:
        return None
    accuracy = sum(true == predicted for true, predicted in pairs) / len(pairs)
    if classes.scheme is not None:
        return _scores_of_entities(rows, accuracy)
    right = Counter(true for true, predicted in pairs if true == predicted)
    each = _each(
        right, Counter(true for true, _ in pairs), Counter(predicted for _, predicted in pairs)
    )
    return ClassificationScores(
        accuracy,
        f1=sum(one.f1 for one in each) / len(each),
        precision=sum(one.precision for one in each) / len(each),
        recall=sum(one.recall for one in each) / len(each),
        unit="words" if classes.of_words else "texts",
        classes=tuple(_in_order(each, classes.labels)),
    )


def _scores_of_entities(rows: Sequence[LabelledRow], accuracy: float) -> ClassificationScores:
    true = Counter(_entities([row.true for row in rows]))
    predicted = Counter(_entities([row.predicted for row in rows]))
    right = true & predicted
    each = _each(_by_type(right), _by_type(true), _by_type(predicted))
    together = _score("", right.total(), true.total(), predicted.total())
    return ClassificationScores(
        accuracy, together.f1, together.precision, together.recall, "entities", tuple(each)
    )


def confusion_matrix(rows: Sequence[LabelledRow], labels: Sequence[str]) -> list[list[int]]:
    """How often a true class (row) was predicted as each class (column), in the order of `labels`.

    Of words where the rows are tagged. A true class that is not among the labels is left out.
    """
    place = {label: number for number, label in enumerate(labels)}
    counts = [[0] * len(labels) for _ in labels]
    for row in rows:
        for true, predicted in zip(row.true, row.predicted, strict=True):
            if true in place:
                counts[place[true]][place[predicted]] += 1
    return counts


def _entities(rows: Sequence[Sequence[str]]) -> Iterator[tuple[int, Span]]:
    """Each row's number with each of its entities."""
    return ((number, span) for number, tags in enumerate(rows) for span in entity_spans(tags))


def _by_type(entities: Counter[tuple[int, Span]]) -> Counter[str]:
    return Counter(span.name for _, span in entities)


def _each(right: Counter[str], true: Counter[str], predicted: Counter[str]) -> list[ClassScore]:
    """Every class that is true or predicted somewhere, by name."""
    return [
        _score(name, right[name], true[name], predicted[name]) for name in sorted(true | predicted)
    ]


def _score(name: str, right: int, occurring: int, predicted: int) -> ClassScore:
    """F1 = 2·TP / (2·TP + FN + FP), where occurring = TP + FN and predicted = TP + FP.

    A share of nothing is 0, as in seqeval and scikit-learn.
    """
    return ClassScore(
        name=name,
        precision=right / max(1, predicted),
        recall=right / max(1, occurring),
        f1=2 * right / max(1, occurring + predicted),
        support=occurring,
    )


def _in_order(scores: Sequence[ClassScore], labels: Sequence[str]) -> list[ClassScore]:
    """In the order of the labels, others behind them."""
    place = {label: number for number, label in enumerate(labels)}
    return sorted(scores, key=lambda one: (place.get(one.name, len(place)), one.name))
