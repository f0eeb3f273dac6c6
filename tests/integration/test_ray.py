"""Runs as jobs of a real Ray: trained, paused, cancelled, killed, without its head, refused."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

import psutil
import pytest

from lora_engine.engine import Engine
from lora_engine.run_folder import RunDirectory, living_worker
from lora_engine.runs.launchers.ray.tenancy import Tenancy, read_tenancy, write_tenancy
from lora_engine.runs.states import OVER, RunState
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from tests.ray_cluster import IS_INSTALLED, RayCluster
from tests.training_runs import losses, tiny_spec, train_here

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not IS_INSTALLED, reason="Ray is not installed"),
]
PATIENCE_S = 180
STEPS = 120


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    found = RayCluster()
    try:
        found.start()
        yield found
    finally:
        found.remove()


@pytest.fixture
def engine(settings: Settings, cluster: RayCluster) -> Engine:
    changed = {"ray_address": cluster.address, "ray_poll_s": 0.3, "ray_patience_s": 20}
    return Engine(settings.model_copy(update=changed))


@pytest.fixture
def spec(tiny_llama, rows_file) -> RunSpec:
    return tiny_spec(
        tiny_llama,
        rows_file,
        method={"dropout": 0.1},
        optimization={"max_steps": STEPS, "save_every": 20, "eval_every": 1000},
        launcher="ray",
    )


def until(true: Callable[[], object], engine: Engine) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        engine.runs.refresh()
        time.sleep(0.05)


def started(engine: Engine, spec: RunSpec) -> RunDirectory:
    """A new run that has saved a checkpoint."""
    directory = engine.runs.directory(engine.runs.submit(spec).id)
    until(lambda: has_saved(directory) or state(engine, directory) in OVER, engine)
    assert state(engine, directory) is RunState.RUNNING, directory.log_tail()
    return directory


def has_saved(directory: RunDirectory) -> bool:
    return any(directory.checkpoints_path.glob("step-*/manifest.json"))


def state(engine: Engine, directory: RunDirectory) -> RunState:
    return engine.runs.get(directory.path.name).record.state


def ended(engine: Engine, directory: RunDirectory) -> RunState:
    until(lambda: state(engine, directory) in OVER, engine)
    return state(engine, directory)


def worker_of(directory: RunDirectory) -> psutil.Process:
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "lora_engine.training.worker" in words and str(directory.path) in words:
            return process
    raise AssertionError("no worker")


def test_a_run_is_paused_killed_and_taken_over_with_the_losses_of_a_whole_one(
    engine, spec, settings, tmp_path
):
    whole, _ = train_here(spec, tmp_path / "whole", settings)
    directory = started(engine, spec)
    worker = worker_of(directory)
    worker.suspend()  # so that it cannot finish meanwhile
    watcher = living_worker(directory)
    os.kill(watcher.pid, signal.SIGKILL)  # the job goes on
    until(lambda: living_worker(directory) not in (None, watcher), engine)
    engine.runs.pause(directory.path.name)
    until(directory.stop_requested, engine)
    assert read_tenancy(directory).token == 1
    worker.resume()
    assert ended(engine, directory) is RunState.PAUSED, directory.log_tail()
    engine.runs.resume(directory.path.name)
    assert ended(engine, directory) is RunState.FINISHED, directory.log_tail()
    assert losses(directory) == losses(whole)
    config = json.loads((directory.adapter_path / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == spec.base_model


def test_a_killed_worker_and_a_newer_token_both_end_a_job_and_nothing_is_lost(
    engine, spec, settings, tmp_path
):
    directory = started(engine, spec)
    worker_of(directory).kill()
    assert ended(engine, directory) is RunState.INTERRUPTED, directory.log_tail()
    engine.runs.resume(directory.path.name)
    until(lambda: read_tenancy(directory).job is not None, engine)
    until(lambda: _has_worker(directory), engine)
    token = read_tenancy(directory).token
    write_tenancy(directory, Tenancy(token=token + 5))
    until(lambda: not _has_worker(directory), engine)
    assert ended(engine, directory) is RunState.INTERRUPTED, directory.log_tail()
    train_here(spec, directory.path, settings, resume=True)  # elsewhere: on this machine
    whole, _ = train_here(spec, tmp_path / "whole", settings)
    assert losses(directory) == losses(whole)


def _has_worker(directory: RunDirectory) -> bool:
    try:
        return worker_of(directory).status() != psutil.STATUS_ZOMBIE
    except (AssertionError, psutil.Error):
        return False


def test_a_run_that_asks_for_what_nobody_has_waits_says_so_and_is_cancelled(engine, spec):
    cards = spec.model_copy(update={"resources": spec.resources.model_copy(update={"gpus": 3})})
    directory = engine.runs.directory(engine.runs.submit(cards).id)
    until(lambda: "waits for 1 cores, 3 GPUs" in directory.log_tail(), engine)
    for _ in range(2):
        engine.runs.cancel(directory.path.name)
    assert ended(engine, directory) is RunState.CANCELLED


def test_over_a_storage_a_job_that_sees_no_data_folder_trains_the_same(
    engine, spec, settings, tmp_path
):
    storage = tmp_path / "storage"
    changed = {"ray_storage": f"file://{storage}", "ray_folder": PurePosixPath("/nowhere")}
    apart = Engine(engine.settings.model_copy(update=changed))
    directory = apart.runs.directory(apart.runs.submit(spec).id)
    assert ended(apart, directory) is RunState.FINISHED, directory.log_tail()
    assert f"base model {spec.base_model}" not in directory.log_tail()
    config = json.loads((directory.adapter_path / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == spec.base_model
    whole, _ = train_here(spec, tmp_path / "whole", settings)
    assert losses(directory) == losses(whole)
    assert list((storage / "content").iterdir())
    assert not list((storage / "runs").iterdir())


def test_without_its_head_a_run_is_interrupted_and_goes_on_here(
    engine, cluster, spec, settings, tmp_path
):
    directory = started(engine, spec)
    cluster.kill()
    assert ended(engine, directory) is RunState.INTERRUPTED, directory.log_tail()
    assert not _has_worker(directory)
    refused = engine.runs.directory(engine.runs.submit(spec).id)
    assert ended(engine, refused) is RunState.FAILED
    assert "LORA_RAY_ADDRESS" in refused.result().error.remedy
    train_here(spec, directory.path, settings, resume=True)
    whole, _ = train_here(spec, tmp_path / "whole", settings)
    assert losses(directory) == losses(whole)
