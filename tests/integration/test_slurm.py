"""Runs as jobs of a real Slurm cluster of one node: the contract of launchers; told to make room,
on a disk that fills, losing node and controller, followed again and cancelled while they wait,
refused. Without Debian's packages (`make slurm`) the tests are skipped."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_engine.engine import Engine
from lora_engine.run_folder import RunDirectory, living_worker
from lora_engine.runs.launchers import waits_in_queue
from lora_engine.runs.states import RunState
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from lora_engine.training.checkpointing.checkpoints import newest_valid_checkpoint
from pages.runs.run_summary import heading
from tests.launcher_contract import (
    STEPS,
    LauncherContract,
    contract_spec,
    ended,
    started,
    state,
    suspended,
    until,
)
from tests.slurm_cluster import IS_UNPACKED, SlurmCluster
from tests.training_runs import losses, train_here

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not IS_UNPACKED, reason="no Slurm in build/slurm (`make slurm`)"),
]


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
def engine(on_cluster: Settings) -> Engine:
    return Engine(on_cluster)


@pytest.fixture
def spec(tiny_llama: Path, rows_file: Path) -> RunSpec:
    return contract_spec(tiny_llama, rows_file, launcher="slurm", resources={"cpus": 1})


class TestSlurm(LauncherContract):
    """With a job for each start."""


def job_of(engine: Engine, directory: RunDirectory) -> str:
    path = directory.path / "slurm.json"
    until(path.exists, engine)
    return json.loads(path.read_text("utf-8"))["job"]


def test_a_job_that_must_make_room_goes_on_as_the_same_run(
    on_cluster, engine, cluster, spec, tmp_path
):
    directory = started(engine, spec)
    worker = suspended(directory)
    number = job_of(engine, directory)
    cluster.command("scancel", "--batch", "--signal=TERM", number)  # as before its time limit
    worker.resume()
    assert ended(engine, directory) is RunState.FINISHED, directory.log_tail()
    assert "Restarts=1" in cluster.command("scontrol", "show", "job", number)
    alone, _ = train_here(spec, tmp_path / "alone", on_cluster)
    assert losses(directory) == losses(alone)


def test_without_node_and_controller_a_run_is_interrupted_and_goes_on_here(
    on_cluster, engine, cluster, spec, tmp_path
):
    directory = started(engine, spec)
    suspended(directory)
    cluster.kill_node()
    cluster.kill_controller()
    try:
        assert ended(engine, directory) is RunState.INTERRUPTED, directory.log_tail()
    finally:
        cluster.start()
    directory.clear_stop_request()
    train_here(spec, directory.path, on_cluster, resume=True)
    alone, _ = train_here(spec, tmp_path / "alone", on_cluster)
    assert losses(directory) == losses(alone)


def test_a_job_whose_disk_fills_says_so_and_goes_on_from_its_checkpoint(
    on_cluster, engine, cluster, spec
):
    """A limit on the job's files stands for the disk: none may grow beyond what a result takes."""
    directory = started(engine, spec)
    job = suspended(directory)
    saved = newest_valid_checkpoint(directory.checkpoints_path)
    room = 4096
    assert directory.metrics_path.stat().st_size > room
    resource.prlimit(job.pid, resource.RLIMIT_FSIZE, (room, room))
    job.resume()
    assert ended(engine, directory) is RunState.FAILED, directory.log_tail()
    error = directory.result().error
    assert "disk is full" in error.problem
    assert not error.is_bug
    assert "disk is full" in heading(engine, engine.runs.get(directory.path.name))
    kept = newest_valid_checkpoint(directory.checkpoints_path)
    assert kept.progress.step >= saved.progress.step > 0
    train_here(spec, directory.path, on_cluster, resume=True)
    assert list(losses(directory)) == list(range(1, STEPS + 1))


def test_a_job_that_waits_is_followed_again_and_cancelled(engine, cluster, spec):
    hog = cluster.command(
        "sbatch", "--parsable", "--cpus-per-task=2", "--output=/dev/null", "--wrap=sleep 600"
    )
    try:
        first, second = (  # as those of a sweep
            engine.runs.directory(engine.runs.submit(spec).id) for _ in range(2)
        )
        number, other = (job_of(engine, directory) for directory in (first, second))
        assert number != other
        until(lambda: waits_in_queue(first), engine)
        watcher = living_worker(first)
        os.kill(watcher.pid, signal.SIGKILL)
        until(lambda: living_worker(first) not in (None, watcher), engine)
        assert state(engine, first) is RunState.RUNNING
        assert job_of(engine, first) == number
        for directory in (first, second):
            engine.runs.cancel(directory.path.name)
        for directory in (first, second):
            assert ended(engine, directory) is RunState.CANCELLED

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
        folder = settings.data_dir / str(number)
        engine = Engine(settings.model_copy(update={"data_dir": folder}))
        directory = engine.runs.directory(engine.runs.submit(asked).id)
        assert ended(engine, directory) is RunState.FAILED
        assert word in directory.result().error.problem
        assert not directory.stop_requested()
