"""Which waiting runs the next worker trains together."""

import itertools

from lora_engine.runs.record import RunRecord
from lora_engine.runs.shared_worker import MOST_RUNS, runs_of_next_worker
from lora_engine.runs.states import RunState
from lora_engine.spec import RunSpec, spec_from

numbers = itertools.count(1)


def waiting(sweep, spec=None):
    number = next(numbers)
    return RunRecord(
        number=number,
        id=f"run-{number}",
        name="run",
        state=RunState.QUEUED,
        spec=spec,
        resume=False,
        created_at=0.0,
        started_at=None,
        ended_at=None,
        device=None,
        note="",
        tags=(),
        sweep=sweep,
    )


def test_an_empty_queue_starts_nothing():
    assert runs_of_next_worker([]) == []


def test_runs_of_one_sweep_over_one_base_start_together_past_those_between():
    small = spec_from({"method": {"rank": 2}})
    other_base = spec_from({"base_model": "another"})
    first, alone, second = waiting("a", RunSpec()), waiting(None, RunSpec()), waiting("a", small)
    other_sweep, elsewhere = waiting("b", RunSpec()), waiting("a", other_base)
    queue = [first, alone, second, other_sweep, elsewhere]
    assert runs_of_next_worker(queue) == [first, second]
    assert runs_of_next_worker(queue[1:]) == [alone]
    assert runs_of_next_worker(queue[3:]) == [other_sweep]


def test_what_changes_the_base_or_cannot_be_read_trains_alone():
    whole = spec_from({"method": {"finetuning_type": "full"}})
    for spec in (whole, None):
        queue = [waiting("a", spec), waiting("a", spec), waiting("a", RunSpec())]
        assert runs_of_next_worker(queue) == queue[:1]


def test_a_worker_takes_so_many_runs_and_no_more():
    queue = [waiting("a", RunSpec()) for _ in range(MOST_RUNS + 3)]
    assert runs_of_next_worker(queue) == queue[:MOST_RUNS]
