"""What every launcher keeps, as tests over one: started, looked at, killed, stopped, resumed.

A test file of a launcher inherits them and gives `engine`, whose settings name the place, and
`spec`, whose launcher it is (`contract_spec`). They stand there, and not in one file over all
places, because a file's tests share one cluster.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from lora_engine.devices import CPU
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.run_folder import RunDirectory, try_lock
from lora_engine.runs.launcher import HeldRun
from lora_engine.runs.launchers import (
    Launcher,
    LocalLauncher,
    Order,
    Stop,
    Watched,
    launchers_elsewhere,
)
from lora_engine.runs.states import OVER, RunState
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from tests.training_runs import losses, tiny_spec, train_here

PATIENCE_S = 180
STEPS = 120
WORKERS = {"lora_engine.training.worker", "lora_engine.runs.launchers.slurm.job"}


def contract_spec(base: Path, rows: Path, **changes) -> RunSpec:
    """A run of some seconds, with randomness of its own that a resume must keep."""
    return tiny_spec(
        base,
        rows,
        method={"dropout": 0.1},
        optimization={"max_steps": STEPS, "save_every": 20, "eval_every": 1000},
        **changes,
    )


def until(true: Callable[[], object], engine: Engine) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        engine.runs.refresh()
        time.sleep(0.05)


def state(engine: Engine, directory: RunDirectory) -> RunState:
    return engine.runs.get(directory.path.name).record.state


def ended(engine: Engine, directory: RunDirectory) -> RunState:
    until(lambda: state(engine, directory) in OVER, engine)
    return state(engine, directory)


def started(engine: Engine, spec: RunSpec) -> RunDirectory:
    """A new run that has saved a checkpoint."""
    directory = engine.runs.directory(engine.runs.submit(spec).id)
    saved = directory.checkpoints_path
    until(
        lambda: any(saved.glob("step-*/manifest.json")) or state(engine, directory) in OVER, engine
    )
    assert state(engine, directory) is RunState.RUNNING, directory.log_tail()
    return directory


def worker_of(directory: RunDirectory) -> psutil.Process | None:
    """The living process that trains a run, wherever it was started from."""
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if str(directory.path) in words and not WORKERS.isdisjoint(words):
            return process
    return None


def suspended(directory: RunDirectory) -> psutil.Process:
    """The run's worker, which cannot finish now before it is asked to stop."""
    worker = worker_of(directory)
    assert worker is not None, directory.log_tail()
    worker.suspend()
    return worker


def steps_of_result(directory: RunDirectory) -> int:
    result = directory.result()
    assert result is not None, directory.log_tail()
    return result.steps


def newest_step(directory: RunDirectory) -> int:
    row = directory.last_metrics()
    return 0 if row is None else row.step


class LauncherContract:
    """Inherited under a name that begins with Test."""

    @pytest.fixture
    def launcher(self, engine: Engine, spec: RunSpec) -> Launcher:
        elsewhere = launchers_elsewhere(engine.settings)
        return elsewhere.get(spec.launcher) or LocalLauncher(engine.settings)

    @pytest.fixture(autouse=True)
    def no_worker_is_left(self, engine: Engine) -> Iterator[None]:
        yield
        for view in engine.runs.list():
            if (worker := worker_of(engine.runs.directory(view.id))) is not None:
                worker.kill()

    def test_killed_stopped_and_resumed_a_run_has_the_losses_of_a_whole_one(
        self, engine: Engine, launcher: Launcher, spec: RunSpec, settings: Settings, tmp_path: Path
    ) -> None:
        directory = started(engine, spec)
        worker = suspended(directory)
        assert launcher.poll(directory) == Watched(is_alive=True)
        reached = newest_step(directory)
        worker.kill()
        assert ended(engine, directory) is RunState.INTERRUPTED, launcher.log(directory, 50)
        assert launcher.poll(directory) == Watched(is_alive=False)
        assert not launcher.stop(directory, Stop.SAVE)  # nobody is there
        assert directory.result() is None

        engine.runs.resume(directory.path.name)
        until(lambda: newest_step(directory) > reached, engine)
        worker = suspended(directory)
        assert "resumed after step" in launcher.log(directory, 200)
        engine.runs.pause(directory.path.name)
        assert launcher.stop(directory, Stop.SAVE)  # asked again, as a person who waits does
        until(lambda: spec.launcher == "local" or directory.stop_requested(), engine)
        worker.resume()
        assert ended(engine, directory) is RunState.PAUSED, launcher.log(directory, 50)
        stopped_at = steps_of_result(directory)
        assert reached < stopped_at < STEPS
        assert (directory.checkpoints_path / f"step-{stopped_at}" / "manifest.json").exists()

        engine.runs.resume(directory.path.name)
        assert ended(engine, directory) is RunState.FINISHED, launcher.log(directory, 50)
        launcher.fetch(directory)
        assert steps_of_result(directory) == STEPS
        config = json.loads((directory.adapter_path / "adapter_config.json").read_text("utf-8"))
        assert config["base_model_name_or_path"] == spec.base_model
        whole, _ = train_here(spec, tmp_path / "whole", settings)
        assert losses(directory) == losses(whole)

    def test_what_cannot_start_says_why_and_leaves_nothing(
        self, engine: Engine, launcher: Launcher, spec: RunSpec, tmp_path: Path
    ) -> None:
        with pytest.raises(EngineError, match="nowhere"):
            engine.runs.submit(spec.model_copy(update={"base_model": str(tmp_path / "nowhere")}))
        assert engine.runs.list() == []
        directory = RunDirectory(tmp_path / "run")
        directory.create(spec)
        assert launcher.poll(directory) == Watched(is_alive=False)
        assert not launcher.stop(directory, Stop.SAVE)  # nobody was ever there
        directory.log_path.mkdir()  # a log cannot be written there
        lock = try_lock(directory)
        assert lock is not None
        with pytest.raises(OSError, match=directory.log_path.name):
            launcher.start([HeldRun(directory, lock)], Order(resume=False, device=CPU))
        assert launcher.poll(directory) == Watched(is_alive=False)
        again = try_lock(directory)
        assert again is not None
        again.close()
