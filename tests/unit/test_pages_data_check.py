"""The Train page's check of the data: a cleaned set is read without what its source needed."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import gradio as gr  # noqa: TID251
import pytest

from lora_engine.engine import Engine
from lora_engine.spec import spec_from
from pages import train

# Every gr.Blocks leaves the event loop it made to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
TAB = SimpleNamespace(query_params={}, session_hash="tab")


@pytest.fixture
def engine(settings) -> Engine:
    return Engine(settings)


@pytest.fixture
def page(engine) -> gr.Blocks:
    return train.build(engine)


def event_of(page: gr.Blocks, name: str):
    return next(event for event in page.fns.values() if event.api_name == f"page_{name}")


def test_a_cleaned_set_takes_the_place_of_columns_format_and_mixture(engine, page, tmp_path):
    rows = tmp_path / "faq.csv"
    with rows.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [
                ["Frage", "Antwort"],
                *([f"Was ist {n}?", f"Das ist {n}."] for n in range(9)),
                ["?", ""],
            ]
        )
    clean = event_of(page, "clean")
    values = {part: part.value for part in clean.inputs}
    given = {
        "field-dataset-mixture": str(rows),
        "field-dataset-format": "prompt_completion",
        "field-dataset-columns-prompt": "Frage",
        "field-dataset-columns-answer": "Antwort",
        "data-drop": ["empty_answer"],
    }
    values |= {part: given[part.elem_id] for part in values if part.elem_id in given}
    *_, last = clean.fn(values, TAB)
    shown = {part.elem_id: value for part, value in last.items()}
    cleaned = shown["field-dataset-source"].value
    assert cleaned.startswith("faq-cleaned")
    assert [shown[name] for name in given if name != "data-drop"] == ["", "auto", None, None]
    assert engine.datasets.preview(spec_from({"dataset": {"source": cleaned}}), 1).rows == 9
