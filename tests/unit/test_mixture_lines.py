"""A mixture as typed on the train page, and its form."""

import json

import pytest

from lora_engine.errors import InvalidInput
from lora_engine.spec import spec_from
from pages.shared.mixture_lines import mixture_read, mixture_text


def parts(text: str):
    return spec_from({"dataset": {"mixture": mixture_read(text)}}).dataset.mixture


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2 starter:pirate\n\n  starter:json ", "2 starter:pirate\n1 starter:json"),
        ("0.5 my rows.csv", "0.5 my rows.csv"),
        ('{"source": "a/b", "split": "test"}', '{"source": "a/b", "split": "test"}'),
        ("7", "1 7"),
        ("", ""),
    ],
)
def test_lines_become_sets_and_back(text, shown):
    found = parts(text)
    assert mixture_text(found) == shown
    assert parts(mixture_text(found)) == found


@pytest.mark.parametrize("text", ["-1 a", "nan a", "inf a", '{"source": 3}', "{broken", "[]{}"])
def test_what_is_no_set_is_named_by_the_spec(text):
    if text == "[]{}":
        assert parts(text)[0].source == text
        return
    with pytest.raises(InvalidInput) as error:
        parts(text)
    assert error.value.problems[0].path.startswith("dataset.mixture.0")


def test_a_set_in_json_keeps_everything_that_is_said_of_it():
    document = {"source": "a", "weight": 2.5, "columns": {"prompt": "q", "answer": "a"}}
    found = parts(json.dumps(document))
    assert json.loads(mixture_text(found)) == document
