"""The worked example's document: what goes to the browser and what may come back."""

import json

import pytest

from lora_engine import calculator
from lora_engine.errors import EngineError, InvalidInput
from pages.calculator import worked_example as page


def start() -> str:
    return page.document(calculator.filled_example(), [])


def test_a_document_goes_there_and_back():
    example, losses = page.read_document(start())
    assert example.W.tolist() == calculator.filled_example().W.tolist()
    assert losses == []


def test_b_zero_says_why_training_starts_at_the_base():
    shown = json.loads(page.zeroed(start()))
    assert shown["adapted"] == shown["W"]
    assert "starts at the base model" in shown["words"]
    assert not any(any(row) for row in shown["grad_A"])


def test_steps_lower_the_loss_and_leave_w():
    shown = json.loads(page.stepped(start(), 0.1, times=10))
    assert len(shown["losses"]) == 11
    assert shown["losses"][-1] < shown["losses"][0]
    assert shown["W"] == json.loads(start())["W"]
    assert "fell" in shown["words"]
    again = json.loads(page.edited(json.dumps(shown)))
    assert again["losses"] == []


def test_alpha_and_rank_change_the_scaling():
    assert json.loads(page.scaled(start(), 8))["scaling"] == 4
    assert json.loads(page.ranked(start(), 4))["scaling"] == 0.5


@pytest.mark.parametrize(
    "sent",
    ["", "[]", "{}", "null", "x" * 200_000, '{"W": [[1]], "A": [[1]], "B": [["a"]], "alpha": 1}'],
)
def test_what_did_not_arrive_whole_is_refused(sent):
    with pytest.raises(EngineError):
        page.edited(sent)


def test_steps_that_diverge_name_the_learning_rate():
    shown = page.zeroed(start())
    with pytest.raises(EngineError, match=r"diverged at learning rate 0\.5") as caught:
        page.stepped(shown, 0.5, times=10)
    assert "smaller learning rate" in caught.value.remedy
    assert json.loads(page.stepped(shown, 0.1, times=10))["losses"]


@pytest.mark.parametrize(
    ("change", "value", "path"),
    [
        (page.scaled, None, "alpha"),
        (page.scaled, -1, "alpha"),
        (page.ranked, None, "example_rank"),
        (page.ranked, 1.5, "example_rank"),
        (page.ranked, 9.0, "example_rank"),
        (lambda state, rate: page.stepped(state, rate, times=1), None, "learning_rate"),
    ],
)
def test_a_wrong_number_is_named_and_nothing_is_clamped(change, value, path):
    with pytest.raises(InvalidInput) as caught:
        change(start(), value)
    assert [problem.path for problem in caught.value.problems] == [path]
