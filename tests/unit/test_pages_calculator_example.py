"""The worked example's document: what goes to the browser and what may come back."""

import json

import pytest

from lora_engine import calculator
from lora_engine.errors import EngineError
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
