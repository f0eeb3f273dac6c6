"""The objective in a spec: each kind's own fields and defaults, and what is refused by its path."""

from __future__ import annotations

import pytest

from lora_engine.errors import InvalidInput
from lora_engine.spec import OBJECTIVE_FIELDS, ObjectiveSpec, RunSpec, spec_from


def refusals(objective: dict) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        spec_from({"objective": objective})
    return [problem.path for problem in caught.value.problems]


def test_left_out_it_is_sft_and_nothing_of_an_old_spec_changes():
    assert spec_from({}).objective == ObjectiveSpec()
    assert spec_from({"objective": {"kind": "sft"}}) == RunSpec()
    assert "objective" not in RunSpec().model_dump(exclude_defaults=True)


@pytest.mark.parametrize(
    ("kind", "beta"), [("dpo", 0.1), ("ipo", 0.1), ("orpo", 0.1), ("kto", 0.1), ("simpo", 2.0)]
)
def test_beta_left_out_or_null_is_the_kinds_own(kind, beta):
    for given in ({"kind": kind}, {"kind": kind, "beta": None}):
        assert spec_from({"objective": given}).objective.beta == beta
    assert spec_from({"objective": {"kind": kind, "beta": 0.3}}).objective.beta == 0.3


def test_a_spec_written_and_read_again_is_the_same():
    for kind in OBJECTIVE_FIELDS:
        spec = spec_from({"objective": {"kind": kind}})
        assert spec_from(spec.model_dump(mode="json")) == spec


def test_a_field_of_another_kind_is_refused_by_its_path():
    assert refusals({"kind": "sft", "beta": 0.1}) == ["objective.beta"]
    assert refusals({"kind": "dpo", "gamma": 0.5}) == ["objective.gamma"]
    assert refusals({"kind": "kto", "loss": "hinge", "label_smoothing": 0.1}) == [
        "objective.loss",
        "objective.label_smoothing",
    ]
    assert refusals({"kind": "ipo", "desirable_weight": 2.0}) == ["objective.desirable_weight"]


def test_another_kinds_field_at_its_default_is_no_contradiction():
    assert spec_from({"objective": {"kind": "dpo", "gamma": 1.0}}).objective.kind == "dpo"


def test_values_that_would_learn_nothing_are_refused():
    assert refusals({"kind": "dpo", "beta": 0.0}) == ["objective.beta"]
    assert refusals({"kind": "dpo", "loss": "hinge", "label_smoothing": 0.1}) == [
        "objective.label_smoothing"
    ]
    assert refusals({"kind": "dpo", "label_smoothing": 0.5}) == ["objective.label_smoothing"]
    assert refusals({"kind": "ppo"}) == ["objective.kind"]
    assert spec_from({"objective": {"kind": "grpo"}}).objective.beta == 0.0
