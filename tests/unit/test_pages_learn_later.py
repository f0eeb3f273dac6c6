"""The lesson's later steps: what they say is the engine's, and what they ask is answered."""

from __future__ import annotations

import json

import pytest

from lora_engine.engine import Engine
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.language import speaking
from lora_engine.lesson import read_measured, train_four_starts
from lora_engine.measured_methods import MeasuredMethod, MethodsReport
from lora_engine.measured_methods.report import Measured
from pages.learn.steps import choose, energy, methods, qlora, starts, where


def asked(content: dict, **change) -> str:
    return json.dumps({**content, "asked": {**content["asked"], **change}})


@pytest.mark.parametrize(
    ("place", "rank", "low", "high"), [(0, 8, 4, 16), (1, 32, 16, 64), (2, 16, 8, 32)]
)
def test_the_three_cases_are_answered_by_the_advisor(place, rank, low, high):
    content = choose._content("style", 100)
    case = content["cases"][place]
    answer = json.loads(choose.asked_again(asked(content, task=case["task"], rows=case["rows"])))[
        "answer"
    ]
    assert (answer["rank"], answer["low"], answer["high"]) == (rank, low, high)
    assert f"rank={rank}" in answer["link"]
    assert len(answer["reasons"]) >= 3


def test_reasons_are_said_in_chinese():
    with speaking("zh"):
        reasons = choose._content("faq", 500)["answer"]["reasons"]
    assert all(any("一" <= sign <= "鿿" for sign in one["text"]) for one in reasons)


def test_a_wrong_question_is_refused():
    content = choose._content("faq", 500)
    with pytest.raises(InvalidInput):
        choose.asked_again(asked(content, task="poetry"))
    for state in ("", "[]", "{}", "null", "x" * 200_000):
        with pytest.raises(EngineError):
            choose.asked_again(state)
        with pytest.raises(EngineError):
            starts.train_again(state)


def test_other_numbers_are_trained_anew():
    first = starts._content(starts._first())
    again = json.loads(starts.train_again(asked(first, learning_rate=1.0, seed=3)))
    found = train_four_starts(1.0, 3)
    assert again["trained"]["base_loss"] == found.base_loss
    for shown, trained in zip(again["trained"]["starts"], found.starts, strict=True):
        assert shown["losses"][-1] == pytest.approx(trained.losses[-1], rel=1e-3)
    with pytest.raises(InvalidInput):
        starts.train_again(asked(first, learning_rate=-1))


def test_the_verdict_on_the_notes_claim_counts_the_modules():
    said = energy._verdict()
    for update in read_measured().energy:
        assert f"{sum(k <= 20 for k in update.values_for_90.values())} of 28" in said


def test_where_names_every_module_with_its_sentence():
    content = where._content()
    assert {one["key"] for one in content["parts"]} == set(where.PARTS)
    assert content["layers"] == ["0", "1", "2", "3"]


def test_the_bits_of_7b():
    rows = qlora._bits()
    assert [row[2] for row in rows] == ["13.48 GB", "3.79 GB", "3.48 GB"]
    assert "0.127" not in rows[1][1]
    assert rows[2][1].endswith("4.127")


def test_methods_of_this_installation_come_first_where_there_are_some(settings):
    assert methods._newest(Engine(settings)) is None
    assert {bar.name for bar in methods._committed() if bar.is_lora} == {"LoRA", "QLoRA", "DoRA"}


def test_a_method_without_a_measurement_has_no_bar():
    measured = Measured(163_840, 2**29, 10.0, 60, 500.0, 1.0, 0.97, None)
    rows = (
        MeasuredMethod("lora", "run", "finished", None, 1e-3, None, measured),
        MeasuredMethod("full", None, "refused", "no memory", None, None, None),
    )
    report = MethodsReport("id", "own", "starter", "starter:pirate", rows, True, None)
    (bar,) = methods._of(report)
    assert (bar.name, bar.eval_loss, bar.times_base) == ("LoRA", 0.97, None)
