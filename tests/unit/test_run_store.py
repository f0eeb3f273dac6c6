"""The run store: states change by compare-and-set, one winner at a time."""

import sqlite3
import threading
from contextlib import closing

import pytest

from lora_engine.errors import EngineError, NotFound
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunStore
from lora_engine.spec import RunSpec


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs.db")


def test_a_new_run_is_queued_and_keeps_its_spec(store):
    spec = RunSpec(name="one", seed=7)
    record = store.add("a", spec)
    assert (record.state, record.spec) == (RunState.QUEUED, spec)


def test_runs_are_listed_newest_first_and_by_state(store):
    for run_id in "abc":
        store.add(run_id, RunSpec())
    store.move("b", [RunState.QUEUED], RunState.CANCELLED)
    assert [r.id for r in store.list()] == ["c", "b", "a"]
    assert [r.id for r in store.list([RunState.QUEUED])] == ["c", "a"]
    assert store.next_queued().id == "a"


def test_a_state_moves_only_from_where_it_is_said_to_be(store):
    store.add("a", RunSpec())
    assert not store.move("a", [RunState.RUNNING], RunState.FINISHED)
    assert store.get("a").state is RunState.QUEUED
    assert store.move("a", [RunState.QUEUED], RunState.CANCELLED)
    assert store.get("a").ended_at is not None


def test_a_device_holds_one_run_and_two_hold_two(store):
    for run_id in "abc":
        store.add(run_id, RunSpec())
    assert store.claim(["a"], "0")
    assert not store.claim(["b"], "0")
    assert store.claim(["b"], "1")
    store.move("a", [RunState.RUNNING], RunState.FINISHED)
    assert store.claim(["c"], "0")
    assert store.get("c").device == "0"


def test_runs_of_one_worker_are_claimed_together_but_for_those_that_wait_no_more(store):
    for run_id in "abcd":
        store.add(run_id, RunSpec())
    store.move("b", [RunState.QUEUED], RunState.CANCELLED)
    assert store.claim(["c", "b", "a"], "0") == ("c", "a")
    assert store.claim(["d"], "0") == ()
    assert {store.get(run_id).device for run_id in "ac"} == {"0"}
    store.move("a", [RunState.RUNNING], RunState.FINISHED)
    assert store.claim(["d"], "0") == ()
    store.move("c", [RunState.RUNNING], RunState.FAILED)
    assert store.claim(["d"], "0") == ("d",)


def test_the_runs_of_a_sweep_are_queued_together_or_not_at_all(store):
    store.add("one", RunSpec())
    with pytest.raises(EngineError):
        store.add_all({"a": RunSpec(), "one": RunSpec()}, "sweep")
    assert store.sweeps() == set()
    store.add_all({"b": RunSpec(seed=1), "a": RunSpec(seed=2)}, "sweep")
    assert store.sweeps() == {"sweep"}
    assert [(run.id, run.spec.seed) for run in store.of_sweep("sweep")] == [("b", 1), ("a", 2)]
    assert [record.id for record in store.queue()] == ["one", "b", "a"]
    assert (store.get("a").sweep, store.get("one").sweep) == ("sweep", None)


def test_of_many_claimants_one_wins(tmp_path):
    RunStore(tmp_path / "runs.db").add("a", RunSpec())
    wins, start = [], threading.Barrier(8)

    def claim():
        own = RunStore(tmp_path / "runs.db")
        start.wait()
        wins.append(own.claim(["a"], "cpu"))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == [()] * 7 + [("a",)]


@pytest.mark.parametrize("document", ["", "[]", '{"of_later": 1}', '{"seed": "x"}'])
def test_a_spec_that_cannot_be_read_hides_no_run(store, tmp_path, document):
    for run_id in "ab":
        store.add(run_id, RunSpec(name=run_id))
    with closing(sqlite3.connect(tmp_path / "runs.db")) as other:
        other.execute("UPDATE runs SET spec = ? WHERE id = 'a'", (document,))
        other.commit()
    sound, broken = store.list()
    assert (sound.spec, sound.problem) == (RunSpec(name="b"), None)
    assert (broken.id, broken.name, broken.spec) == ("a", "a", None)
    assert broken.problem
    with pytest.raises(EngineError, match=r"\ba\b"):
        broken.readable_spec()
    assert store.next_queued().id == "a"


def test_an_unknown_run_says_what_to_do(store):
    with pytest.raises(NotFound, match="runs"):
        store.get("nope")


def test_the_queue_is_reordered_and_a_run_that_waits_no_more_is_left_alone(store):
    for run_id in "abc":
        store.add(run_id, RunSpec())
    assert store.swap_in_queue("c", "b")
    assert [r.id for r in store.queue()] == ["a", "c", "b"]
    store.claim(["a"], "cpu")
    assert not store.swap_in_queue("c", "a")
    assert store.next_queued().id == "c"


def test_a_resumed_run_waits_behind_the_others(store):
    for run_id in "ab":
        store.add(run_id, RunSpec())
    store.move("a", [RunState.QUEUED], RunState.PAUSED)
    assert not store.requeue(["b"])
    assert store.requeue(["a"])
    assert [(r.id, r.resume) for r in store.queue()] == [("b", False), ("a", True)]


def test_only_a_run_that_is_over_is_removed(store):
    store.add("a", RunSpec())
    assert not store.remove("a")
    store.move("a", [RunState.QUEUED], RunState.CANCELLED)
    assert store.remove("a")
    assert store.list() == []


def test_notes_and_tags_are_kept_as_written(store):
    store.add("a", RunSpec())
    store.annotate("a", "<b>=1+1", ("x", "ü"))
    assert (store.get("a").note, store.get("a").tags) == ("<b>=1+1", ("x", "ü"))
