"""What a classifier predicts, as HTML: escaped, with classes as text, matrices by class."""

from __future__ import annotations

import re
from types import SimpleNamespace

import gradio as gr  # noqa: TID251
import pytest

from lora_engine.cancellation import Stopped
from lora_engine.compare.classify import (
    PredictedText,
    PredictedWords,
    Prediction,
    SetColumn,
    SetResult,
)
from lora_engine.compare.classify.predictions import PredictedSpan
from lora_engine.data.class_labels import Classes
from lora_engine.training.forward.classification_scores import (
    LabelledRow,
    confusion_matrix,
    scores_of,
)
from pages.compare import classifier_html, try_classifier

# Every gr.Blocks leaves the event loop it made to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")

ATTACK = "<img src=x onerror=alert(1)>"
LABELS = ("B-A", "B-B", "I-A", "O")


def words(text: str, *spans: tuple[str, int, int], read: int | None = None) -> PredictedWords:
    found = tuple(PredictedSpan(name, text[a:b], a, b, 0.875) for name, a, b in spans)
    return PredictedWords((), found, len(text) if read is None else read)


def test_spans_carry_their_class_as_text_and_everything_is_escaped():
    text = f"one {ATTACK} two three"
    predicted = Prediction(
        text, {"base": words(text), "adapter": words(text, ("A", 0, 3), read=text.index(" three"))}
    )
    shown = classifier_html.predictions_html([predicted], LABELS, f"head {ATTACK}")
    assert ATTACK not in shown
    assert re.search(r"<mark[^>]*>one<small>A 87.5 %</small></mark>", shown)
    assert "<del> three</del>" in shown
    assert "beyond the limit" in shown


def test_bars_say_each_class_and_its_share():
    predicted = PredictedText((("good", 0.75), (ATTACK, 0.25)), 4)
    shown = classifier_html.predictions_html(
        [Prediction("fine", {"adapter": predicted})], ("good", ATTACK), ""
    )
    assert ATTACK not in shown
    assert "<dt>good</dt>" in shown
    assert "75.0 %" in shown


def test_a_matrix_of_entities_counts_types_and_a_matrix_of_texts_labels():
    rows = [LabelledRow(("B-A", "I-A", "O"), ("B-A", "O", "O"))]
    result = _result(rows, Classes(LABELS, of_words=True))
    shown = classifier_html.matrices_html(result)
    line = re.search(r'<th scope="row">A</th>(.*?)</tr>', shown)[1]
    assert re.findall(r">(\d+)</td>", line) == ["1", "0", "1"]  # predicted A, B, O
    texts = _result([LabelledRow(("B-A",), ("O",))], Classes(LABELS, of_words=False))
    assert '<th scope="row">B-A</th>' in classifier_html.matrices_html(texts)


def _result(rows: list[LabelledRow], classes: Classes) -> SetResult:
    scores, matrix = scores_of(rows, classes), confusion_matrix(rows, classes.labels)
    columns = tuple(SetColumn(name, scores, matrix) for name in ("base", "adapter"))
    return SetResult(classes.labels, columns, (), (), 0)


def test_classes_of_texts_keep_their_own_colours_where_they_look_like_tags():
    predicted = PredictedText((("C-rated", 0.75), ("A-rated", 0.25)), 4)
    labels = ("A-rated", "C-rated")
    shown = classifier_html.predictions_html(
        [Prediction("fine", {"adapter": predicted})], labels, ""
    )
    assert re.findall(r'<dt>(.-rated)</dt><dd class="rs-class-bar" data-colour="(\d)"', shown) == [
        ("C-rated", "1"),
        ("A-rated", "0"),
    ]


def test_what_one_classifier_predicts_is_not_shown_under_another():
    tab = SimpleNamespace(session_hash="tab")
    with gr.Blocks():
        fields = try_classifier._fields(gr.Tab())
    handlers = try_classifier._Handlers(SimpleNamespace(), fields, gr.Tabs())

    def predict(texts: list[str]):
        handlers.choose("other", tab)
        yield from texts

    handlers.engine.adapters = SimpleNamespace(get=lambda _: SimpleNamespace(dataset=None))
    handlers.engine.classifiers = SimpleNamespace(open=lambda _: SimpleNamespace(predict=predict))
    with pytest.raises(Stopped):
        handlers.predict("first", "a text", tab)
