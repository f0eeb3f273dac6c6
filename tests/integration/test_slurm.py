"""Runs as jobs of a real Slurm cluster of one node: told to make room, losing node and controller,
cancelled, refused. Without Debian's packages (`make slurm`) the tests are skipped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lora_engine.engine import Engine
from lora_engine.run_folder import RunDirectory, living_worker
from lora_engine.runs.launchers import Stop
from lora_engine.runs.launchers.slurm.launcher import SlurmLauncher
from lora_engine.runs.states import OVER, RunState
from lora_engine.settings import Settings
from tests.slurm_cluster import IS_UNPACKED, SlurmCluster
from tests.training_runs import losses, tiny_spec, train_here

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not IS_UNPACKED, reason="no Slurm in build/slurm (`make slurm`)"),
]

PATIENCE_S = 180
STEPS = 160
ON_SLURM = {"launcher": "slurm", "resources": {"cpus": 1}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[SlurmCluster]:
    found = SlurmCluster(tmp_path_factory.mktemp("slurm"))
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture
def on_cluster(settings: Settings, cluster: SlurmCluster, monkeypatch) -> Settings:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    changed = {"slurm_host": "local", "slurm_poll_s": 0.2, "slurm_patience_s": 2}
    return settings.model_copy(update=changed)


@pytest.fixture
def spec(tiny_llama: Path, rows_file: Path):
    """A run of some seconds, and what it would lose without a checkpoint."""
    return tiny_spec(
        tiny_llama,
        rows_file,
        optimization={"max_steps": STEPS, "save_every": 40, "eval_every": 1000},
        **ON_SLURM,
    )


def until(true: Callable[[], bool], engine: Engine | None = None) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        if engine is not None:
            engine.runs.refresh()
        time.sleep(0.05)


def is_over(engine: Engine, run_id: str) -> Callable[[], bool]:
    return lambda: engine.runs.get(run_id).record.state in OVER


def has_stepped(directory: RunDirectory) -> Callable[[], bool]:
    return lambda: (row := directory.last_metrics()) is not None and row.step >= 3


def job_of(directory: RunDirectory) -> str:
    path = directory.path / "slurm.json"
    until(path.exists)
    return json.loads(path.read_text("utf-8"))["job"]


def test_a_job_that_must_make_room_goes_on_as_the_same_run(on_cluster, cluster, spec, tmp_path):
    engine = Engine(on_cluster)
    run_id = engine.runs.submit(spec).id
    directory = engine.runs.directory(run_id)
    until(has_stepped(directory), engine)
    number = job_of(directory)
    cluster.command("scancel", "--batch", "--signal=TERM", number)  # as before its time limit
    until(is_over(engine, run_id), engine)
    assert engine.runs.get(run_id).record.state is RunState.FINISHED, directory.log_tail()
    assert "Restarts=1" in cluster.command("scontrol", "show", "job", number)
    alone, _ = train_here(spec, tmp_path / "alone", on_cluster)
    assert losses(directory) == pytest.approx(losses(alone), abs=1e-6)


def test_without_node_and_controller_a_run_is_interrupted_and_goes_on_here(
    on_cluster, cluster, spec, tmp_path
):
    engine = Engine(on_cluster)
    run_id = engine.runs.submit(spec).id
    directory = engine.runs.directory(run_id)
    until(lambda: any(directory.checkpoints_path.glob("step-*/manifest.json")), engine)
    cluster.kill_node()
    cluster.kill_controller()
    try:
        until(is_over(engine, run_id), engine)
    finally:
        cluster.start()
    assert engine.runs.get(run_id).record.state is RunState.INTERRUPTED, directory.log_tail()
    directory.clear_stop_request()
    train_here(spec, directory.path, on_cluster, resume=True)
    alone, _ = train_here(spec, tmp_path / "alone", on_cluster)
    assert losses(directory) == pytest.approx(losses(alone), abs=1e-6)


def test_a_job_that_waits_is_followed_again_and_cancelled(on_cluster, cluster, spec):
    hog = cluster.command(
        "sbatch", "--parsable", "--cpus-per-task=2", "--output=/dev/null", "--wrap=sleep 600"
    )
    engine = Engine(on_cluster)
    try:
        first, second = (engine.runs.submit(spec).id for _ in range(2))  # as those of a sweep
        directory = engine.runs.directory(first)
        number, other = job_of(directory), job_of(engine.runs.directory(second))
        assert number != other
        watcher = living_worker(directory)
        os.kill(watcher.pid, signal.SIGKILL)
        until(lambda: living_worker(directory) not in (None, watcher), engine)
        assert engine.runs.get(first).record.state is RunState.RUNNING
        assert job_of(directory) == number
        for run_id in (first, second):
            engine.runs.cancel(run_id)
        for run_id in (first, second):
            until(is_over(engine, run_id), engine)
            assert engine.runs.get(run_id).record.state is RunState.CANCELLED

        def queue():
            return cluster.command("squeue", "--noheader", "--format=%i").split()

        until(lambda: not {number, other} & set(queue()), engine)
        assert hog in queue()
    finally:
        cluster.command("scancel", hog)


def test_what_the_cluster_does_not_have_is_a_sentence(on_cluster, spec):
    wrong_partition = on_cluster.model_copy(update={"slurm_partition": "nowhere"})
    wrong_host = on_cluster.model_copy(update={"slurm_host": "nobody.invalid"})
    cards = spec.model_copy(update={"resources": spec.resources.model_copy(update={"gpus": 1})})
    tried = {"gres": (on_cluster, cards), "partition": (wrong_partition, spec)}
    if shutil.which("ssh"):
        tried["nobody.invalid"] = (wrong_host, spec)
    for number, (word, (settings, asked)) in enumerate(tried.items()):
        directory = settings.data_dir / str(number)
        engine = Engine(settings.model_copy(update={"data_dir": directory}))
        run_id = engine.runs.submit(asked).id
        until(is_over(engine, run_id), engine)
        view = engine.runs.get(run_id)
        assert view.record.state is RunState.FAILED
        assert word in view.result.error.problem
        assert not engine.runs.directory(run_id).stop_path.exists()


def test_a_run_that_nobody_watches_cannot_be_stopped(on_cluster, tmp_path):
    launcher = SlurmLauncher(on_cluster)
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    assert not launcher.poll(directory).is_alive
    assert not launcher.stop(directory, Stop.SAVE)
