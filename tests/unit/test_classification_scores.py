"""Scores of classifiers: by entity as seqeval counts, by class as scikit-learn counts."""

from __future__ import annotations

import random
import warnings

import pytest
from seqeval.metrics import classification_report
from sklearn.metrics import classification_report as class_report
from sklearn.metrics import confusion_matrix as their_matrix

from lora_engine.data.class_labels import Classes
from lora_engine.data.entity_spans import Span, entity_spans, tag_scheme
from lora_engine.training.forward.classification_scores import (
    LabelledRow,
    confusion_matrix,
    scores_of,
)

PLACES = {"BIO": "BI", "BIOES": "BIES", "IO": "I"}


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["O", "B-PER", "I-PER"], "BIO"),
        (["B-geo-loc", "I-geo-loc"], "BIO"),
        (["O", "B-X", "I-X", "E-X", "S-X"], "BIOES"),
        (["O", "B-X", "L-X", "U-X"], "BILOU"),
        (["O", "B-X", "M-X", "E-X"], "BMES"),
        (["O", "I-X"], "IO"),
        (["O", "PER", "LOC"], "IO"),
        (["NOUN", "VERB"], None),  # classes of words without an "outside"
        (["O", "B-PER", "LOC"], None),
        (["O", "B-"], "IO"),
        (["O"], None),
    ],
)
def test_the_scheme_is_found_in_the_tags(tags, scheme):
    assert tag_scheme(tags) == scheme


def test_tags_without_places_and_other_letters_mean_the_same_spans():
    spans = (Span("PER", 1, 3), Span("LOC", 3, 4))
    assert entity_spans(["O", "B-PER", "I-PER", "B-LOC"]) == spans
    assert entity_spans(["O", "PER", "PER", "LOC"]) == spans
    assert entity_spans(["O", "B-PER", "L-PER", "U-LOC"]) == spans
    assert entity_spans(["O", "B-PER", "B-PER"]) == (Span("PER", 1, 2), Span("PER", 2, 3))
    assert entity_spans([]) == ()


def _tags(source: random.Random, places: str) -> list[str]:
    names = ["O", "O", *(f"{place}-{kind}" for place in places for kind in ("A", "B-C"))]
    return source.choices(names, k=source.randint(1, 9))


@pytest.mark.parametrize("scheme", PLACES)
def test_entities_are_scored_as_seqeval_does(scheme):
    source = random.Random(scheme)
    true = [_tags(source, PLACES[scheme]) for _ in range(60)]
    told = [
        row if source.random() < 0.5 else source.sample(row, len(row)) for row in true
    ]  # half right, half shuffled
    rows = [LabelledRow(tuple(a), tuple(b)) for a, b in zip(true, told, strict=True)]
    labels = tuple(sorted({tag for row in true for tag in row}))
    found = scores_of(rows, Classes(labels, of_words=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = classification_report(true, told, output_dict=True)
    assert found.unit == "entities"
    together = theirs["micro avg"]
    assert (found.precision, found.recall, found.f1) == pytest.approx(
        (together["precision"], together["recall"], together["f1-score"])
    )
    for one in found.classes:
        known = theirs[one.name]
        assert (one.precision, one.recall, one.f1) == pytest.approx(
            (known["precision"], known["recall"], known["f1-score"])
        )
        assert one.support == known["support"]
    words = [a == b for x, y in zip(true, told, strict=True) for a, b in zip(x, y, strict=True)]
    assert found.accuracy == pytest.approx(sum(words) / len(words))


@pytest.mark.parametrize("of_words", [False, True])
def test_other_classes_are_scored_as_scikit_learn_does(of_words):
    source = random.Random(0)
    labels = ("NOUN", "VERB", "X", "never")
    true = source.choices(labels[:3], k=80)
    told = [source.choice(labels[:3]) if source.random() < 0.4 else one for one in true]
    rows = [LabelledRow((a,), (b,)) for a, b in zip(true, told, strict=True)]
    found = scores_of(rows, Classes(labels, of_words))
    theirs = class_report(true, told, output_dict=True, zero_division=0.0)
    assert found.unit == ("words" if of_words else "texts")
    assert found.accuracy == pytest.approx(theirs["accuracy"])
    assert found.f1 == pytest.approx(theirs["macro avg"]["f1-score"])
    assert found.precision == pytest.approx(theirs["macro avg"]["precision"])
    assert [one.name for one in found.classes] == ["NOUN", "VERB", "X"]
    for one in found.classes:
        assert one.f1 == pytest.approx(theirs[one.name]["f1-score"])
    matrix = confusion_matrix(rows, labels)
    assert matrix == their_matrix(true, told, labels=list(labels)).tolist()


def test_scores_of_known_answers():
    rows = [LabelledRow(("a",), ("a",)), LabelledRow(("a",), ("b",)), LabelledRow(("b",), ("b",))]
    found = scores_of([*rows, rows[2]], Classes(("a", "b"), of_words=False))
    assert found.accuracy == 0.75
    assert found.f1 == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores_of([LabelledRow((), ())], Classes(("a", "b"), of_words=True)) is None
