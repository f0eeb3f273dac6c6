"""Sweeps without a worker: submitted whole or not at all, stopped and resumed, always readable."""

import json
import shutil

import pytest

from lora_engine.engine import Engine
from lora_engine.errors import Conflict, EngineError, InvalidInput, NotFound
from lora_engine.run_folder import RunResult
from lora_engine.runs import supervisor, sweeps
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunStore
from lora_engine.spec import spec_from, sweep_from


@pytest.fixture
def engine(settings, monkeypatch):
    """An engine that starts no worker."""
    monkeypatch.setattr(supervisor.Supervisor, "_start_waiting", lambda self: None)
    return Engine(settings)


@pytest.fixture
def store(engine, settings):
    return RunStore(settings.database_path)


@pytest.fixture
def make_sweep(tiny_llama, rows_file):
    def make(axes=None, **method):
        run = {
            "base_model": str(tiny_llama),
            "dataset": {"source": str(rows_file)},
            "method": method,
        }
        axes = axes or {"method.rank": [2, 4], "optimization.learning_rate": [1e-3, 1e-2]}
        listed = [{"path": path, "values": values} for path, values in axes.items()]
        return sweep_from({"name": "tiny", "run": run, "axes": listed})

    return make


def states(view):
    return [run.record.state.value for run in view.runs]


def everything(settings):
    return sorted(str(path) for path in settings.data_dir.rglob("*") if "runs.db" not in path.name)


def test_a_sweep_is_runs_of_the_list_in_the_order_of_the_grid(engine, make_sweep):
    spec = make_sweep()
    view = engine.sweeps.submit(spec)
    assert states(view) == ["queued"] * 4
    assert [run.record.spec for run in view.runs] == list(spec.children())
    assert engine.sweeps.list() == [view]
    assert engine.sweeps.get(view.id).spec == spec
    assert {run.record.sweep for run in engine.runs.list()} == {view.id}
    assert engine.runs.queue() == [run.id for run in view.runs]
    on_disk = engine.runs.directory(view.runs[3].id).spec()
    assert (on_disk.method.rank, on_disk.optimization.learning_rate) == (4, 1e-2)


def test_each_thing_that_a_check_looks_at_is_checked_once(engine, make_sweep, monkeypatch):
    checked = []

    def check(spec, settings):
        checked.append(spec.method.rank)
        return spec

    monkeypatch.setattr(sweeps, "check_run", check)
    axes = {"method.rank": [2, 4], "optimization.learning_rate": [1e-3, 1e-2], "seed": [0, 1, 2]}
    engine.sweeps.submit(make_sweep(axes))
    assert checked == [2, 4]


def test_the_problems_of_all_runs_come_together_and_nothing_is_left(engine, settings, make_sweep):
    before = everything(settings)
    axes = {"method.rank": [2, 5000], "optimization.learning_rate": [1e-3, 7]}
    with pytest.raises(InvalidInput) as caught:
        engine.sweeps.submit(make_sweep(axes))
    paths = [problem.path for problem in caught.value.problems]
    assert paths == ["optimization.learning_rate", "method.rank"]

    # the first run could work, the other two could not
    axes = {"method.target_modules": ["all-linear", ["nowhere"], ["no_proj"]]}
    with pytest.raises(InvalidInput) as caught:
        engine.sweeps.submit(make_sweep(axes))
    assert "nowhere" in caught.value.problems[0].message
    assert "no_proj" in caught.value.problems[1].message

    axes = {"dataset.source": ["starter:pirate", "/missing.jsonl"], "seed": [0, 1]}
    with pytest.raises(InvalidInput) as caught:
        engine.sweeps.submit(make_sweep(axes))
    assert [p.path for p in caught.value.problems] == ["tiny · source /missing.jsonl · seed 0"]
    with pytest.raises(EngineError, match="missing.jsonl"):
        engine.sweeps.submit(make_sweep({"dataset.source": ["/missing.jsonl"]}))
    assert everything(settings) == before
    assert engine.runs.list() == []


def test_a_disk_that_refuses_leaves_nothing(engine, settings, make_sweep, monkeypatch):
    before = {*everything(settings), str(settings.sweeps_dir)}
    create, made = sweeps.RunDirectory.create, []

    def refuse_the_third(self, spec):
        made.append(self)
        if len(made) == 3:
            raise OSError(28, "No space left on device")
        create(self, spec)

    monkeypatch.setattr(sweeps.RunDirectory, "create", refuse_the_third)
    with pytest.raises(EngineError, match="No space left"):
        engine.sweeps.submit(make_sweep())
    assert set(everything(settings)) == before
    assert engine.sweeps.list() == []


def test_an_adapter_to_go_on_from_decides_the_shape_of_every_run(engine, make_sweep, monkeypatch):
    shape = spec_from({"method": {"rank": 3, "alpha": 5, "init_from": "/adapters/mine"}}).method

    def check(spec, settings):
        assert spec.method.model_fields_set == {"init_from"}
        return spec.model_copy(update={"method": shape})

    monkeypatch.setattr(sweeps, "check_run", check)
    view = engine.sweeps.submit(make_sweep({"seed": [0, 1]}, init_from="mine"))
    assert [run.record.spec.method for run in view.runs] == [shape, shape]
    assert [run.record.spec.seed for run in view.runs] == [0, 1]


def test_a_sweep_is_paused_resumed_and_cancelled_whole_and_its_runs_alone(engine, make_sweep):
    view = engine.sweeps.submit(make_sweep())
    first = view.runs[0].id
    engine.runs.cancel(first)
    assert states(engine.sweeps.pause(view.id)) == ["cancelled", "paused", "paused", "paused"]
    engine.runs.resume(view.runs[1].id)
    assert states(engine.sweeps.pause(view.id))[1] == "paused"
    assert states(engine.sweeps.resume(view.id)) == ["queued"] * 4
    assert states(engine.sweeps.resume(view.id)) == ["queued"] * 4
    ended = engine.sweeps.cancel(view.id)
    assert states(ended) == ["cancelled"] * 4
    assert ended.is_over


def test_runs_stopped_as_worse_stay_paused_when_the_sweep_is_resumed(engine, store, make_sweep):
    view = engine.sweeps.submit(make_sweep())
    engine.sweeps.pause(view.id)
    worse = view.runs[2].id
    stopped = RunResult.failed(None).model_copy(
        update={"state": "cancelled", "stopped_because": "worse than tiny r2 at step 50"}
    )
    engine.runs.directory(worse).write_result(stopped)
    assert states(engine.sweeps.resume(view.id)) == ["queued", "queued", "paused", "queued"]
    for run in view.runs:
        if run.id != worse:
            store.claim([run.id], "cpu")
            store.move(run.id, [RunState.RUNNING], RunState.FINISHED)
    with pytest.raises(Conflict, match="1 paused"):
        engine.sweeps.resume(view.id)
    assert engine.runs.resume(worse).record.state is RunState.QUEUED


def test_a_sweep_that_is_still_stopping_is_not_resumed(engine, store, make_sweep):
    view = engine.sweeps.submit(make_sweep({"seed": [0, 1]}))
    store.pause(view.runs[0].id)
    store.claim([view.runs[1].id], "cpu")
    store.pause(view.runs[1].id)
    with pytest.raises(Conflict, match="1 pausing"):
        engine.sweeps.resume(view.id)
    assert states(engine.sweeps.get(view.id)) == ["paused", "pausing"]


def test_a_sweep_stays_readable_without_a_run_that_was_deleted(engine, make_sweep):
    view = engine.sweeps.submit(make_sweep())
    engine.sweeps.cancel(view.id)
    engine.runs.delete(view.runs[1].id)
    left = engine.sweeps.get(view.id)
    assert len(left.runs) == 3
    assert left.deleted == ("tiny r2 · lr 0.01",)
    assert states(engine.sweeps.resume(view.id)) == ["queued"] * 3
    engine.sweeps.cancel(view.id)
    for run in left.runs:
        engine.runs.delete(run.id)
    assert len(engine.sweeps.get(view.id).deleted) == 4
    with pytest.raises(Conflict, match="none is left"):
        engine.sweeps.resume(view.id)


def test_only_a_sweep_that_is_over_is_deleted_and_takes_nothing_else_with_it(
    engine, settings, make_sweep
):
    kept, gone = (engine.sweeps.submit(make_sweep({"seed": [n, n + 1]})) for n in (0, 1))
    with pytest.raises(Conflict, match="2 queued"):
        engine.sweeps.delete(gone.id)
    engine.sweeps.cancel(gone.id)
    engine.sweeps.delete(gone.id)
    assert engine.sweeps.list() == [engine.sweeps.get(kept.id)]
    assert {path.name for path in settings.runs_dir.iterdir()} == {run.id for run in kept.runs}
    assert [path.name for path in settings.sweeps_dir.iterdir()] == [kept.id]


def test_a_sweep_whose_folder_is_gone_can_be_deleted(engine, settings, make_sweep):
    view = engine.sweeps.submit(make_sweep({"seed": [0, 1]}))
    shutil.rmtree(settings.sweeps_dir / view.id)
    engine.sweeps.cancel(view.id)
    engine.sweeps.delete(view.id)
    assert (engine.sweeps.list(), engine.runs.list()) == ([], [])


@pytest.mark.parametrize("content", [None, "", "{", '{"name": "later"}', "folder"])
def test_one_unreadable_sweep_hides_no_other(engine, settings, make_sweep, content):
    broken, sound = (engine.sweeps.submit(make_sweep({"seed": [n]})) for n in (0, 1))
    path = settings.sweeps_dir / broken.id / "sweep.json"
    path.unlink()
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    views = {view.id: view for view in engine.sweeps.list()}
    assert views[sound.id] == sound
    assert views[broken.id].spec is None
    assert "sweep.json" in views[broken.id].problem
    assert states(views[broken.id]) == ["queued"]
    assert states(engine.sweeps.cancel(broken.id)) == ["cancelled"]


def test_a_sweep_with_a_field_of_a_later_program_says_so(engine, settings, make_sweep):
    view = engine.sweeps.submit(make_sweep({"seed": [0]}))
    path = settings.sweeps_dir / view.id / "sweep.json"
    document = json.loads(path.read_text())
    document["spec"]["run"]["method"]["of_later"] = 1
    path.write_text(json.dumps(document))
    assert "of_later" in engine.sweeps.get(view.id).problem


@pytest.mark.parametrize("sweep_id", ["nope", "", "..", "../runs", "/etc"])
def test_an_unknown_sweep_says_what_to_do(engine, sweep_id):
    for ask in (engine.sweeps.get, engine.sweeps.cancel, engine.sweeps.pause, engine.sweeps.resume):
        with pytest.raises(NotFound, match="sweeps"):
            ask(sweep_id)
