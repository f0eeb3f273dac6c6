"""The supervisor and a worker of several runs: each run stops, fails and is found by itself.

The worker here trains nothing. It keeps to a worker's part (locks, stop requests, SIGTERM, results)
and does with each run what a file in the run's directory says.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from lora_engine.engine import Engine
from lora_engine.run_folder import RunDirectory, living_worker, try_lock
from lora_engine.runs import launcher, supervisor
from lora_engine.runs.launchers import LocalLauncher
from lora_engine.runs.states import OVER
from lora_engine.spec import sweep_from

WORKER = """
import argparse, json, os, pathlib, signal, time
parser = argparse.ArgumentParser()
parser.add_argument("runs", nargs="+", type=pathlib.Path)
parser.add_argument("--lock-fd", type=int, action="append")
parser.add_argument("--resume", action="store_true")
parser.add_argument("--stop-worse", action="store_true")
given = parser.parse_args()
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append("term"))
going = dict(zip(given.runs, given.lock_fd))
(given.runs[0] / "started.json").write_text(
    json.dumps([[run.name for run in going], given.resume, given.stop_worse])
)

def end(run, state, because=None):
    figures = dict.fromkeys(
        ("steps", "tokens", "tokens_per_s", "peak_memory_bytes", "elapsed_s"), 1
    )
    result = {"state": state, "train_loss": 1.0, "eval_loss": 1.0, "stopped_because": because}
    (run / "new").write_text(json.dumps({**figures, **result}))
    os.rename(run / "new", run / "result.json")
    os.close(going.pop(run))

while going:
    for run in list(going):
        stops = asked or (run / "stop").exists()  # looked at first: it was told what to do before
        said = (run / "do").read_text() if (run / "do").exists() else ""
        if said == "hang":
            continue
        if said in ("finished", "failed"):
            end(run, said)
        elif said:
            end(run, "cancelled", said)
        elif stops:
            end(run, "cancelled")
    time.sleep(0.01)
"""


@pytest.fixture
def engine(settings, tmp_path, monkeypatch):
    """An engine whose workers are the one above, and which checks no spec."""
    module = tmp_path / "root" / "lora_engine" / "training" / "worker.py"
    module.parent.mkdir(parents=True)
    module.write_text(WORKER)
    monkeypatch.setattr(launcher, "PROJECT_ROOT", tmp_path / "root")
    monkeypatch.setattr("lora_engine.runs.sweeps.check_run", lambda spec, settings: spec)
    engine = Engine(settings)
    yield engine
    for view in engine.runs.list():
        if (worker := living_worker(engine.runs.directory(view.id))) is not None:
            os.killpg(worker.pid, signal.SIGKILL)
    wait(lambda: not engine.runs.refresh() and all_are_over(engine))


def all_are_over(engine: Engine) -> bool:
    return all(view.record.state in OVER for view in engine.runs.list())


@pytest.fixture
def three(engine):
    """A sweep of three runs in one worker, which has begun."""
    return submit(engine, [0, 1, 2])


def submit(engine: Engine, seeds: list[int], **more):
    axes = [{"path": "seed", "values": seeds}]
    view = engine.sweeps.submit(sweep_from({"name": "s", "axes": axes, **more}))
    wait(lambda: (first_directory(engine, view).path / "started.json").exists())
    return engine.sweeps.get(view.id)


def first_directory(engine: Engine, view) -> RunDirectory:
    return engine.runs.directory(view.runs[0].id)


def wait(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def states(engine: Engine, view) -> list[str]:
    engine.runs.refresh()
    return [run.record.state.value for run in engine.sweeps.get(view.id).runs]


def wait_for(engine: Engine, view, expected: list[str]) -> None:
    wait(lambda: states(engine, view) == expected)


def tell(engine: Engine, run, what: str) -> None:
    folder: Path = engine.runs.directory(run.id).path
    (folder / "do.new").write_text(what)
    (folder / "do.new").rename(folder / "do")


def workers(engine: Engine, view) -> list[int | None]:
    found = [living_worker(engine.runs.directory(run.id)) for run in view.runs]
    return [worker and worker.pid for worker in found]


def test_runs_of_a_sweep_start_in_one_worker_and_each_is_found_by_its_lock(engine, three):
    assert states(engine, three) == ["running"] * 3
    assert len(set(workers(engine, three))) == 1
    started = json.loads((first_directory(engine, three).path / "started.json").read_text())
    assert started == [[run.id for run in three.runs], False, False]
    assert three.runs[0].id in engine.runs.log_tail(three.runs[2].id)

    # a server that starts anew adopts them
    again = Engine(engine.settings)
    assert states(again, three) == ["running"] * 3
    assert workers(again, three) == workers(engine, three)


def test_the_rule_to_stop_what_is_worse_is_handed_on_and_what_it_stopped_is_paused(engine):
    view = submit(engine, [0, 1], stop_worse=True)
    started = json.loads((first_directory(engine, view).path / "started.json").read_text())
    assert started[2] is True
    tell(engine, view.runs[1], "worse than s seed 0 at step 50")
    wait_for(engine, view, ["running", "paused"])
    result = engine.runs.get(view.runs[1].id).result
    assert result.stopped_because == "worse than s seed 0 at step 50"


def test_one_run_stops_or_fails_and_the_others_go_on(engine, three):
    engine.runs.cancel(three.runs[0].id)
    wait_for(engine, three, ["cancelled", "running", "running"])
    engine.runs.pause(three.runs[1].id)
    wait_for(engine, three, ["cancelled", "paused", "running"])
    tell(engine, three.runs[2], "failed")
    wait_for(engine, three, ["cancelled", "paused", "failed"])


def test_a_request_to_stop_does_not_outlive_the_worker_it_was_made_to(engine, three):
    engine.runs.pause(three.runs[0].id)
    wait_for(engine, three, ["paused", "running", "running"])
    assert engine.runs.directory(three.runs[0].id).stop_requested()
    engine.runs.resume(three.runs[0].id)
    assert states(engine, three)[0] == "queued"  # the device is still taken
    for run in three.runs[1:]:
        tell(engine, run, "finished")
    wait_for(engine, three, ["running", "finished", "finished"])
    assert not engine.runs.directory(three.runs[0].id).stop_requested()


def test_the_whole_worker_is_asked_at_once_where_all_its_runs_stop(engine, three):
    engine.runs.pause(three.runs[0].id)
    wait_for(engine, three, ["paused", "running", "running"])
    engine.sweeps.cancel(three.id)
    wait_for(engine, three, ["paused", "cancelled", "cancelled"])
    assert not engine.runs.directory(three.runs[2].id).stop_requested()  # it was SIGTERM


def test_a_hanging_run_is_killed_only_when_it_takes_no_other_with_it(engine, three, monkeypatch):
    monkeypatch.setattr(LocalLauncher, "stop_patience_s", 0.1)
    for run in three.runs:
        tell(engine, run, "hang")
    engine.runs.cancel(three.runs[0].id)
    engine.runs.cancel(three.runs[1].id)
    engine.runs.pause(three.runs[2].id)
    give_it_time = time.monotonic() + 0.5
    wait(lambda: states(engine, three) and time.monotonic() > give_it_time)
    assert states(engine, three) == ["cancelling", "cancelling", "pausing"]
    engine.runs.cancel(three.runs[2].id)
    wait_for(engine, three, ["cancelled"] * 3)


def test_a_killed_worker_interrupts_each_of_its_runs_and_a_resume_joins_them_again(engine, three):
    tell(engine, three.runs[1], "finished")
    wait_for(engine, three, ["running", "finished", "running"])
    os.killpg(workers(engine, three)[0], signal.SIGKILL)
    wait_for(engine, three, ["interrupted", "finished", "interrupted"])
    (first_directory(engine, three).path / "started.json").unlink()
    engine.sweeps.resume(three.id)
    wait(lambda: (first_directory(engine, three).path / "started.json").exists())
    started = json.loads((first_directory(engine, three).path / "started.json").read_text())
    assert started == [[three.runs[0].id, three.runs[2].id], True, False]


def test_a_run_without_a_usable_directory_fails_and_the_others_start(engine, monkeypatch):
    axes = [{"path": "seed", "values": [0, 1]}]
    with monkeypatch.context() as before_any_tick:
        before_any_tick.setattr(supervisor.Supervisor, "tick", lambda self: None)
        view = engine.sweeps.submit(sweep_from({"axes": axes}))
    directory = engine.runs.directory(view.runs[0].id).path
    directory.rename(directory.with_name("gone"))
    assert states(engine, view) == ["failed", "running"]


@pytest.mark.parametrize("lost", ["deleted", "emptied", "replaced", "a folder", "a loop"])
def test_a_lost_lock_lets_no_second_worker_in_and_its_run_can_be_cancelled(engine, three, lost):
    one, other, _ = three.runs
    for run in (one, other):
        lose_lock(engine.runs.directory(run.id).lock_path, lost)
    assert states(engine, three) == ["running"] * 3
    assert len(set(workers(engine, three))) == 1
    assert try_to_lock(engine.runs.directory(one.id)) is None
    engine.runs.cancel(one.id)
    tell(engine, other, "finished")
    if lost == "emptied":  # it is still the same lock, which the worker lets go of
        wait_for(engine, three, ["cancelled", "finished", "running"])
    else:
        wait(lambda: all(engine.runs.get(run.id).result for run in (one, other)))
    engine.sweeps.cancel(three.id)
    wait(lambda: states(engine, three) == ["cancelled", "finished", "cancelled"])


def lose_lock(path: Path, how: str) -> None:
    if how == "emptied":
        path.write_bytes(b"")
        return
    path.unlink()
    if how == "replaced":
        path.write_bytes(b"")
    elif how == "a folder":
        path.mkdir()
    elif how == "a loop":
        path.symlink_to(path.name)


def try_to_lock(directory: RunDirectory):
    try:
        return try_lock(directory)
    except OSError:  # what stands there now cannot be opened
        return None
