"""A finished run goes on: the same numbers as a run that was longer from the start."""

from __future__ import annotations

import json
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file

from lora_engine.engine import Engine
from lora_engine.errors import Conflict
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.states import OVER, RunState
from lora_engine.spec import RunSpec, spec_from
from lora_engine.training.reporting.outcome import run_result
from tests.training_runs import losses, tiny_spec, train_here

PATIENCE_S = 120
CONSTANT = {"schedule": "constant", "warmup_ratio": 0.0, "learning_rate": 0.01}


@pytest.fixture
def engine(settings) -> Engine:
    return Engine(settings)


@pytest.fixture
def finished(engine, settings):
    """A run of the list that has trained to its end in this process; its id."""

    def train(spec: RunSpec, run_id: str) -> str:
        engine.runs._store.add(run_id, spec)
        engine.runs._store.move(run_id, [RunState.QUEUED], RunState.RUNNING)
        directory, progress = train_here(spec, settings.runs_dir / run_id, settings)
        directory.write_result(run_result("finished", progress, None))
        engine.runs.refresh()
        assert engine.runs.get(run_id).record.state == RunState.FINISHED
        return run_id

    return train


@pytest.fixture
def spec_of(tiny_llama, rows_file):
    def make(steps: int, **changes) -> RunSpec:
        optimization = {**CONSTANT, "max_steps": steps, **changes.pop("optimization", {})}
        return tiny_spec(tiny_llama, rows_file, optimization=optimization, **changes)

    return make


def tensors_of(directory: RunDirectory) -> dict[str, torch.Tensor]:
    folder = directory.adapter_path
    name = "adapter_model.safetensors"
    return load_file(
        folder / name if folder.is_dir() else directory.path / "model/model.safetensors"
    )


def files_of(directory: RunDirectory) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory.path)): path.read_bytes()
        for path in sorted(directory.path.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


METHODS = {
    "adapter with dropout": {"method": {"dropout": 0.1}},
    "pissa": {"method": {"init": "pissa", "rank": 4}},
    "full": {"method": {"finetuning_type": "full"}, "optimization": {"learning_rate": 1e-3}},
    "lora+": {"method": {"loraplus_lr_ratio": 4.0}},
    "the best kept": {"optimization": {"save_best": True, "eval_every": 2}},
}


@pytest.mark.parametrize("method", METHODS)
def test_five_steps_and_four_more_are_nine_steps(engine, settings, finished, spec_of, method):
    whole = finished(spec_of(9, **METHODS[method]), "whole")
    first = finished(spec_of(5, **METHODS[method]), "first")
    before = files_of(engine.runs.directory(first))
    plan = engine.runs.plan_extension(first, steps=4)
    more = finished(plan.spec, "more")

    assert files_of(engine.runs.directory(first)) == before
    long, short = losses(engine.runs.directory(whole)), losses(engine.runs.directory(more))
    assert list(short) == [6, 7, 8, 9]
    assert short == pytest.approx({step: long[step] for step in short}, abs=1e-6)
    expected = tensors_of(engine.runs.directory(whole))
    for name, tensor in tensors_of(engine.runs.directory(more)).items():
        assert torch.allclose(tensor, expected[name], atol=1e-6), name
    results = [engine.runs.get(run_id).result for run_id in (whole, more)]
    assert results[0].train_loss == pytest.approx(results[1].train_loss, abs=1e-6)
    assert results[0].saved_step == results[1].saved_step


def test_extended_twice_by_an_epoch(engine, finished, spec_of):
    whole = finished(spec_of(27), "whole")  # 36 rows in batches of 4: 9 steps an epoch
    once = finished(engine.runs.plan_extension(finished(spec_of(9), "a"), epochs=1.0).spec, "b")
    twice = finished(engine.runs.plan_extension(once, epochs=1.0).spec, "c")
    assert list(losses(engine.runs.directory(twice))) == list(range(19, 28))
    expected = tensors_of(engine.runs.directory(whole))
    for name, tensor in tensors_of(engine.runs.directory(twice)).items():
        assert torch.allclose(tensor, expected[name], atol=1e-6), name


def test_the_cosine_is_that_of_the_new_total(engine, finished, spec_of):
    changes = {"optimization": {"schedule": "cosine"}}
    plan = engine.runs.plan_extension(finished(spec_of(5, **changes), "short"), steps=4)
    more = finished(plan.spec, "more")
    whole = finished(spec_of(9, **changes), "whole")
    rows, of_whole = (engine.runs.metrics(run_id) for run_id in (more, whole))
    assert [row.learning_rate for row in rows] == [row.learning_rate for row in of_whole[5:]]
    assert rows[0].learning_rate == plan.rate_after
    assert rows[-1].learning_rate == plan.last_rate


def test_a_run_that_stopped_early_goes_on_and_counts_anew(engine, finished, spec_of):
    stopping = {"optimization": {"early_stopping": 1, "eval_every": 1, "learning_rate": 0.9}}
    early = finished(spec_of(40, **stopping), "early")
    last = engine.runs.get(early).newest
    assert last.step < 40
    plan = engine.runs.plan_extension(early, steps=30)
    assert (plan.first_step, plan.total_steps) == (last.step + 1, last.step + 30)
    more = finished(plan.spec, "more")
    assert engine.runs.get(more).newest.step > last.step


def test_a_run_that_started_from_an_adapter_goes_on(engine, finished, spec_of):
    first = finished(spec_of(3), "20260101-000000-aaaaaaaaaa")
    on = finished(spec_of(3, method={"init_from": first}), "on")
    more = engine.runs.plan_extension(on, steps=2)
    assert more.spec.method.init_from == first
    assert list(losses(engine.runs.directory(finished(more.spec, "more")))) == [4, 5]


@pytest.fixture
def without_device(monkeypatch):
    """Runs stay queued, so that what `submit` decides is seen alone."""
    monkeypatch.setattr("lora_engine.runs.supervisor.list_devices", lambda settings: [])


@pytest.mark.usefixtures("without_device")
class TestWhatIsRefused:
    def test_without_its_last_checkpoint(self, engine, finished, spec_of):
        """As of runs from before these were kept; the way out is the adapter."""
        old = finished(spec_of(5), "old")
        shutil.rmtree(engine.runs.directory(old).checkpoints_path)
        with pytest.raises(Conflict, match="step, 5") as refused:
            engine.runs.extend(old, steps=2)
        assert f"init_from {old}" in refused.value.remedy
        assert [view.id for view in engine.runs.list()] == [old]

    def test_with_a_damaged_checkpoint(self, engine, finished, spec_of):
        run_id = finished(spec_of(5), "run")
        path = engine.runs.directory(run_id).checkpoints_path / "step-5" / "optimizer.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
        with pytest.raises(Conflict, match="no whole checkpoint"):
            engine.runs.extend(run_id, steps=2)

    def test_with_other_rows(self, engine, finished, spec_of, rows_file):
        run_id = finished(spec_of(5), "run")
        rows_file.write_text(rows_file.read_text("utf-8").replace("Grass", "Leaves"), "utf-8")
        with pytest.raises(Conflict, match="The dataset changed since run run finished"):
            engine.runs.extend(run_id, steps=2)

    def test_with_another_learning_rate(self, engine, finished, spec_of):
        spec = engine.runs.plan_extension(finished(spec_of(5), "run"), steps=2).spec
        document = spec.model_dump(mode="json")
        document["optimization"]["learning_rate"] = 0.5
        with pytest.raises(Conflict, match=r"learning_rate \(0.01 then, 0.5 now\)"):
            engine.runs.submit(spec_from(document))

    def test_a_run_that_was_cancelled(self, engine, spec_of):
        run_id = engine.runs.submit(spec_of(5)).id
        engine.runs.cancel(run_id)
        with pytest.raises(Conflict, match="cancelled") as refused:
            engine.runs.extend(run_id, steps=2)
        assert f"resume {run_id}" in refused.value.remedy

    def test_what_is_extended_is_queued_under_a_new_id(self, engine, finished, spec_of):
        view = engine.runs.extend(finished(spec_of(5), "run"), epochs=2)
        assert view.record.state == RunState.QUEUED
        assert view.record.spec.extended_from.run == "run"
        on_disk = json.loads(engine.runs.directory(view.id).spec_path.read_text("utf-8"))
        assert on_disk["extended_from"] == {"run": "run", "step": 5, "steps": None, "epochs": 2.0}


def test_a_full_disk_at_the_last_checkpoint_leaves_the_run_finished(
    engine, finished, spec_of, monkeypatch, caplog
):
    from lora_engine.training.checkpointing import save_and_resume

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(save_and_resume, "save_checkpoint", full)
    run_id = finished(spec_of(3), "run")
    assert "cannot be extended" in caplog.text
    with pytest.raises(Conflict, match="no whole checkpoint"):
        engine.runs.extend(run_id, steps=1)


def test_a_worker_extends_and_is_resumed_from_the_run_before(engine, settings, finished, spec_of):
    """A real worker; then its own checkpoints are gone, as after a kill before the first."""
    more = engine.runs.extend(finished(spec_of(5), "run"), steps=4).id
    wait_for_end(engine, more)
    directory, result = engine.runs.directory(more), engine.runs.get(more).result
    assert (result.state, result.steps) == ("finished", 9)
    seen = losses(directory)
    assert list(seen) == [6, 7, 8, 9]
    shutil.rmtree(directory.checkpoints_path)
    again, _ = train_here(directory.spec(), directory.path, settings, resume=True)
    assert losses(again) == seen
    assert (directory.checkpoints_path / "step-9").is_dir()


def wait_for_end(engine: Engine, run_id: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while engine.runs.get(run_id).record.state not in OVER:
        assert time.monotonic() < deadline, engine.runs.log_tail(run_id)
        time.sleep(0.05)
        engine.runs.refresh()
    assert engine.runs.get(run_id).record.state == RunState.FINISHED, engine.runs.log_tail(run_id)
