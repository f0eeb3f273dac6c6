"""A finished run extended: its steps, its learning rate in numbers, and what cannot be extended."""

from __future__ import annotations

import time

import pytest

from lora_engine.errors import Conflict, InvalidInput
from lora_engine.runs.extension import plan_extension
from lora_engine.runs.record import RunRecord
from lora_engine.runs.states import RunState
from lora_engine.spec import RunSpec, spec_from
from lora_engine.training.learning_rate_schedule import learning_rate_at
from lora_engine.training.plan import make_plan
from tests.metrics_rows import metrics_row


def record(state=RunState.FINISHED, **optimization) -> RunRecord:
    spec = spec_from({"name": "tiny", "optimization": {"learning_rate": 0.01, **optimization}})
    now = time.time()
    return RunRecord(1, "the-run", "tiny", state, spec, False, now, now, now, "cpu", "", ())


def last_row(step: int, steps_per_epoch: int, optimization, total: int | None = None):
    rate = learning_rate_at(step, total or step, optimization)
    return metrics_row(
        step,
        epoch=round(step / steps_per_epoch, 4),
        learning_rate=rate,
        total_steps=total or step,
    )


def plan_of(run: RunRecord, step=30, steps_per_epoch=10, **length):
    row = last_row(step, steps_per_epoch, run.spec.optimization)
    return plan_extension(run, row, length.get("epochs"), length.get("steps"))


def test_epochs_and_steps_are_added_to_what_was_done():
    assert plan_of(record(), epochs=2.0).total_steps == 50
    assert plan_of(record(), epochs=0.25).total_steps == 33
    assert plan_of(record(), steps=7).total_steps == 37
    assert plan_of(record(), steps=7).first_step == 31


@pytest.mark.parametrize("steps_per_epoch", [1, 3, 7, 999, 12_345])
def test_the_plan_and_the_worker_agree_on_the_total(steps_per_epoch):
    run = record(batch_size=1)
    plan = plan_of(run, step=3 * steps_per_epoch, steps_per_epoch=steps_per_epoch, epochs=1.5)
    lengths = [8] * steps_per_epoch
    own = make_plan(lengths, run.spec.optimization, 0, plan.spec.extended_from)
    assert own.total_steps == plan.total_steps


def test_the_schedule_is_that_of_a_run_planned_for_the_total():
    run = record(schedule="cosine", warmup_ratio=0.1)
    plan = plan_of(run, epochs=2.0)
    longer = run.spec.optimization
    assert plan.rate_before == learning_rate_at(30, 30, longer)
    assert plan.rate_after == learning_rate_at(31, 50, longer)
    assert plan.last_rate == learning_rate_at(50, 50, longer)
    for number in (plan.rate_before, plan.rate_after, plan.last_rate):
        assert f"{number:.3g}" in plan.words
    assert "31 to 50" in plan.words


def test_a_constant_rate_does_not_jump():
    plan = plan_of(record(schedule="constant"), steps=5)
    assert plan.rate_before == plan.rate_after == plan.last_rate == 0.01
    assert "jump" not in plan.words
    assert "0.01" in plan.words


def test_the_spec_says_which_run_goes_on_and_is_the_same_otherwise():
    run = record(schedule="linear")
    spec = plan_of(run, steps=5).spec
    assert spec.extended_from.model_dump() == {
        "run": "the-run", "step": 30, "steps": 5, "epochs": None,
    }  # fmt: skip
    assert spec.name == "tiny + 5 steps"
    plain = RunSpec.model_validate(spec.model_dump() | {"extended_from": None, "name": "tiny"})
    assert plain == run.spec


@pytest.mark.parametrize(
    ("length", "field"),
    [({}, "extension"), ({"epochs": 1.0, "steps": 1}, "extension"), ({"steps": 0}, "steps"),
     ({"epochs": 0.0}, "epochs"), ({"epochs": float("nan")}, "epochs")],
)  # fmt: skip
def test_one_length_within_bounds_is_needed(length, field):
    with pytest.raises(InvalidInput) as refused:
        plan_of(record(), **length)
    assert [problem.path for problem in refused.value.problems] == [field]


@pytest.mark.parametrize("state", [state for state in RunState if state != RunState.FINISHED])
def test_only_a_finished_run_is_extended(state):
    with pytest.raises(Conflict, match=state) as refused:
        plan_of(record(state), steps=1)
    going = state in (RunState.QUEUED, RunState.RUNNING)
    assert ("resume the-run" in refused.value.remedy) != going
