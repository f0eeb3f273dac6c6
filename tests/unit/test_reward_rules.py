"""The rules of GRPO: what a spec may ask for, and which answers meet a rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_engine.errors import EngineError, InvalidInput
from lora_engine.spec import RewardRule, spec_from
from lora_engine.training.objectives import rewards
from lora_engine.training.objectives.rewards import JudgedAnswer, last_number, reward_of


def meets(rule: dict, text: str, expected: str | None = None, tokens: int = 3) -> float:
    return reward_of([RewardRule(**rule)], JudgedAnswer(text, tokens, expected))


def refusals(rule: dict) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        spec_from({"objective": {"kind": "grpo", "rules": [rule]}})
    return [problem.path for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("compare", "text", "expected", "score"),
    [
        ("text", " Paris. ", "paris", 1),
        ("text", "It is Paris.", "Paris", 0),
        ("text", "a  b", "A B", 1),
        ("last_number", "7 plus 12 is 19.", "19", 1),
        ("last_number", "19, no: 20", "19", 0),
        ("last_number", "It costs 1,234.50 in all.", "1234.5", 1),
        ("last_number", "it is -4", "4", 0),
        ("last_number", "no number", "4", 0),
        ("last_number", "4", "no number", 0),
        ("contains", "It is Paris, I think.", "paris", 1),
        ("contains", "It is 195.", "19", 0),
        ("contains", "Paris", "", 0),
    ],
)
def test_equal_is_judged_against_the_rows_own_answer(compare, text, expected, score):
    assert meets({"kind": "equal", "compare": compare}, text, expected) == score


def test_a_row_without_an_answer_meets_no_equal():
    assert meets({"kind": "equal"}, "anything", None) == 0


def test_a_pattern_is_found_anywhere_unless_bound():
    assert meets({"kind": "regex", "pattern": r"\d"}, "so 7.") == 1
    assert meets({"kind": "regex", "pattern": r"^\d$"}, "so 7.") == 0


def test_a_pattern_that_takes_for_ever_stops_the_run_with_its_reason(monkeypatch):
    monkeypatch.setattr(rewards, "PATTERN_SECONDS", 0.05)
    with pytest.raises(EngineError, match="took longer") as caught:
        meets({"kind": "regex", "pattern": r"^(a|aa)+$"}, "a" * 60 + "b")
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "keys", "score"),
    [
        ('{"answer": 1}', ["answer"], 1),
        ('{"answer": 1}', ["answer", "topic"], 0),
        ("[1, 2]", [], 1),
        ("[1, 2]", ["answer"], 0),
        ('{"answer": 1} and more', [], 0),
        ("[" * 100_000, [], 0),
    ],
)
def test_json_is_the_whole_answer(text, keys, score):
    assert meets({"kind": "json_valid", "keys": keys}, text) == score


def test_length_counts_tokens_or_characters_with_both_bounds_inside():
    assert meets({"kind": "length", "maximum": 3}, "x" * 100, tokens=3) == 1
    assert meets({"kind": "length", "maximum": 3}, "x", tokens=4) == 0
    assert meets({"kind": "length", "minimum": 2, "unit": "characters"}, "x", tokens=9) == 0


def test_a_reward_is_the_weighted_sum():
    rules = [
        RewardRule(kind="equal", weight=2.0, compare="last_number"),
        RewardRule(kind="length", weight=-0.5, minimum=1),
        RewardRule(kind="regex", weight=4.0, pattern="never"),
    ]
    assert reward_of(rules, JudgedAnswer("it is 4", 5, "4")) == 1.5


def test_rules_that_say_nothing_are_refused_by_their_path():
    assert refusals({"kind": "regex"}) == ["objective.rules.0"]
    assert refusals({"kind": "regex", "pattern": "(" * 3}) == ["objective.rules.0.pattern"]
    assert refusals({"kind": "length"}) == ["objective.rules.0"]
    assert refusals({"kind": "length", "minimum": 5, "maximum": 4}) == ["objective.rules.0"]
    assert refusals({"kind": "equal", "weight": 0.0}) == ["objective.rules.0.weight"]
    assert refusals({"kind": "equal", "pattern": "a"}) == ["objective.rules.0.pattern"]
    assert refusals({"kind": "model"}) == ["objective.rules.0.kind"]


@given(st.text(max_size=200))
def test_any_text_can_be_judged(text):
    for rule in ({"kind": "json_valid"}, {"kind": "equal", "compare": "contains"}):
        assert meets(rule, text, expected=text) in (0, 1)
    last_number(text)
