"""Runs at other places than this machine, over a launcher that stands in: a sweep as single jobs,
and a stopped run that goes on elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence

import pytest

from lora_engine.engine import Engine
from lora_engine.errors import Conflict, EngineError, InvalidInput
from lora_engine.quotas.errors import QuotaExceeded
from lora_engine.run_folder import RunDirectory, RunResult
from lora_engine.runs import Place
from lora_engine.runs.launcher import HeldRun
from lora_engine.runs.launchers import Order, Stop, Watched
from lora_engine.runs.launchers.slurm.ownership import take_for_job
from lora_engine.runs.states import RunState
from lora_engine.settings import Settings
from lora_engine.spec import sweep_over
from pages import runs as runs_page
from tests.page_events import answered
from tests.training_runs import tiny_spec

pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
ELSEWHERE = {"launcher": "slurm", "resources": {"cpus": 1}}


def ended_process() -> subprocess.Popen:
    process = subprocess.Popen(["true"])
    process.wait()
    return process


class StandIn:
    """A place whose runs do nothing until the test says how they end."""

    name = "slurm"
    stop_patience_s = 60.0

    def __init__(self) -> None:
        self.started: list[list[str]] = []
        self.orders: list[Order] = []
        self.going: set[str] = set()

    def start(self, runs: Sequence[HeldRun], order: Order) -> subprocess.Popen:
        self.started.append([run.directory.path.name for run in runs])
        self.orders.append(order)
        self.going.update(self.started[-1])
        for run in runs:
            run.directory.clear_result()
            run.lock.close()
        return ended_process()

    def poll(self, directory: RunDirectory) -> Watched:
        return Watched(is_alive=directory.path.name in self.going)

    def stop(self, directory: RunDirectory, how: Stop) -> bool:
        self.end(directory, "cancelled")
        return True

    def end(self, directory: RunDirectory, state: str | None) -> None:
        """state: None where the run is lost."""
        self.going.discard(directory.path.name)
        if state is not None:
            result = RunResult(
                state=state, steps=1, train_loss=1.0, eval_loss=None, tokens=1, tokens_per_s=1.0,
                peak_memory_bytes=1, elapsed_s=1.0,
            )  # fmt: skip
            directory.write_result(result)

    def log(self, directory: RunDirectory, lines: int) -> str:
        return ""

    def fetch(self, directory: RunDirectory) -> None:
        return None


@pytest.fixture
def place(monkeypatch) -> StandIn:
    found = StandIn()
    monkeypatch.setattr(
        "lora_engine.runs.supervisor.launchers_elsewhere", lambda _: {found.name: found}
    )
    return found


@pytest.fixture
def here(monkeypatch) -> list[tuple]:
    """What this machine's launcher was asked to start; it starts nothing."""
    asked: list[tuple] = []

    def launch(runs, settings, resume, device, stop_worse=False):
        asked.append((runs[0].directory.spec(), resume))
        runs[0].lock.close()
        return ended_process()

    monkeypatch.setattr("lora_engine.runs.launchers.local.launch", launch)
    return asked


@pytest.fixture
def with_slurm(settings: Settings) -> Settings:
    return settings.model_copy(update={"slurm_host": "local", "max_elsewhere": 2})


@pytest.fixture
def spec(tiny_llama, rows_file):
    return tiny_spec(tiny_llama, rows_file, **ELSEWHERE)


@pytest.fixture
def lost(place, with_slurm, spec) -> tuple[Engine, str]:
    """A run that was lost at the other place."""
    engine = Engine(with_slurm)
    run_id = engine.runs.submit(spec).id
    place.end(engine.runs.directory(run_id), None)
    engine.runs.refresh()
    assert engine.runs.get(run_id).record.state is RunState.INTERRUPTED
    return engine, run_id


def states(engine: Engine, sweep_id: str) -> list[RunState]:
    engine.runs.refresh()
    return [view.record.state for view in engine.sweeps.get(sweep_id).runs]


def test_a_sweep_elsewhere_is_single_jobs_as_many_as_may_be_there(place, with_slurm, spec):
    engine = Engine(with_slurm)
    sweep = engine.sweeps.submit(sweep_over(spec, [2, 4, 8], [], []))
    first, second, third = (view.id for view in sweep.runs)
    assert place.started == [[first], [second]]
    assert states(engine, sweep.id) == [RunState.RUNNING, RunState.RUNNING, RunState.QUEUED]
    place.end(engine.runs.directory(first), "finished")
    place.end(engine.runs.directory(second), None)  # one that is lost leaves the others going
    assert states(engine, sweep.id) == [
        RunState.FINISHED, RunState.INTERRUPTED, RunState.RUNNING,
    ]  # fmt: skip
    assert place.started[2:] == [[third]]
    engine.sweeps.cancel(sweep.id)
    assert states(engine, sweep.id)[2] is RunState.CANCELLED
    engine.sweeps.resume(sweep.id)
    assert place.started[3:] == [[second], [third]]
    assert place.orders[-1].resume


def test_a_lost_run_goes_on_here_on_two_devices_with_the_spec_that_says_so(lost, here, place):
    engine, run_id = lost
    view = engine.runs.resume(run_id, Place("local", devices=2))
    (asked,) = here
    assert asked == (view.record.spec, True)
    assert (asked[0].launcher, asked[0].optimization.devices) == ("local", 2)
    assert len(place.started) == 1


def test_a_run_of_this_machine_goes_on_elsewhere_by_the_command(
    place, with_slurm, spec, here, run_command, monkeypatch
):
    monkeypatch.setenv("LORA_SLURM_HOST", "local")
    engine = Engine(with_slurm)
    run_id = engine.runs.submit(spec.model_copy(update={"launcher": "local"})).id
    engine.runs.refresh()
    assert engine.runs.get(run_id).record.state is RunState.INTERRUPTED
    code, out, _ = run_command("resume", run_id, "--on", "slurm", "--cpus", 3, "--json")
    assert (code, json.loads(out)["state"]) == (0, "running")
    assert place.started == [[run_id]]
    assert engine.runs.directory(run_id).spec().resources.cpus == 3
    code, _, said = run_command("resume", run_id, "--on", "nowhere")
    assert code == 0  # it goes on already: asked twice is asked once


@pytest.mark.parametrize(
    ("wanted", "kind", "named"),
    [
        (Place("local", devices=64), InvalidInput, "64"),
        (Place("nowhere"), InvalidInput, "launcher"),
        (Place("ray"), EngineError, "ray"),
        (Place(devices=4), InvalidInput, "resources"),
    ],
)
def test_where_it_cannot_train_it_stays_as_it_was(lost, place, wanted, kind, named):
    engine, run_id = lost
    before = engine.runs.get(run_id).record
    written = engine.runs.directory(run_id).spec_path.read_bytes()
    with pytest.raises(kind, match=named):
        engine.runs.resume(run_id, wanted)
    assert engine.runs.get(run_id).record == before
    assert engine.runs.directory(run_id).spec_path.read_bytes() == written


def test_a_full_queue_leaves_it_as_it_was(lost, with_slurm, spec):
    engine, run_id = lost
    written = engine.runs.directory(run_id).spec_path.read_bytes()
    full = Engine(with_slurm.model_copy(update={"max_queued": 1, "max_elsewhere": 1}))
    for _ in range(2):  # one is there, and one waits
        full.runs.submit(spec)
    with pytest.raises(QuotaExceeded):
        full.runs.resume(run_id, Place(devices=1, resources={"cpus": 2}))
    assert engine.runs.get(run_id).record.state is RunState.INTERRUPTED
    assert engine.runs.directory(run_id).spec_path.read_bytes() == written


def test_a_run_that_cannot_be_followed_again_stops_no_other(
    lost, place, with_slurm, spec, monkeypatch
):
    def refuse(runs, _):
        for run in runs:
            run.lock.close()
        raise OSError("no room")

    engine, _ = lost
    first, second = (engine.runs.submit(spec).id for _ in range(2))
    watched = Watched(is_alive=False, lost_watcher=True)
    follow, poll = place.start, place.poll
    monkeypatch.setattr(place, "start", refuse)
    monkeypatch.setattr(place, "poll", lambda one: watched if one.path.name == first else poll(one))
    place.end(engine.runs.directory(second), "finished")
    engine.runs.refresh()
    assert engine.runs.get(second).record.state is RunState.FINISHED
    monkeypatch.setattr(place, "start", follow)
    engine.runs.refresh()
    assert place.started[-1] == [first]


def test_while_its_job_still_trains_there_it_does_not_begin_here(lost, here):
    engine, run_id = lost
    lock = take_for_job(engine.runs.directory(run_id), "17", 0.0)
    with pytest.raises(Conflict, match="17"):
        engine.runs.resume(run_id, Place("local"))
    assert engine.runs.get(run_id).record.state is RunState.INTERRUPTED
    assert not here
    os.close(lock)
    engine.runs.resume(run_id, Place("local"))
    assert len(here) == 1


def test_a_place_that_is_set_no_more_is_said_when_a_run_resumes_there(lost, settings):
    _, run_id = lost
    engine = Engine(settings)
    assert engine.runs.places_to_go_on(run_id) == ("slurm", "local")
    with pytest.raises(EngineError, match="slurm"):
        engine.runs.resume(run_id)
    assert engine.runs.get(run_id).record.state is RunState.INTERRUPTED


def test_the_page_asks_where_only_where_there_is_a_choice(lost, here, settings, spec):
    engine, run_id = lost
    page = runs_page.build(engine)
    events = {one.name: one for one in page.fns.values()}
    parts = {part.elem_id: part for part in page.blocks.values() if getattr(part, "elem_id", "")}
    values = {field: field.value for field in events["ask_where"].inputs}
    asked = answered(page, events["ask_where"], values)
    asked |= answered(page, events["fill_places"], run_id)
    assert asked[parts["going-on-place"]] == "slurm"
    values |= {field: value for field, value in asked.items() if not isinstance(value, dict)}
    inputs = {field: values.get(field) for field in events["go_on"].inputs}
    inputs |= {parts["going-on-place"]: "local", parts["field-optimization-devices"]: 2}
    changed = answered(page, events["go_on"], inputs)
    assert not changed[parts["going-on"]].visible
    assert [asked.optimization.devices for asked, _ in here] == [2]
    alone = Engine(settings.model_copy(update={"data_dir": settings.data_dir / "other"}))
    local = alone.runs.submit(spec.model_copy(update={"launcher": "local"})).id
    assert alone.runs.places_to_go_on(local) == ()
