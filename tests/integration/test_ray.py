"""Runs as jobs of a real Ray: the contract of launchers; followed again, fenced off, cancelled
while they wait, without their head, refused."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from lora_engine.engine import Engine
from lora_engine.run_folder import living_worker
from lora_engine.runs.launchers import waits_in_queue
from lora_engine.runs.launchers.ray.tenancy import Tenancy, read_tenancy, write_tenancy
from lora_engine.runs.states import RunState
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from tests.launcher_contract import (
    LauncherContract,
    contract_spec,
    ended,
    started,
    suspended,
    until,
    worker_of,
)
from tests.ray_cluster import IS_INSTALLED, RayCluster
from tests.training_runs import losses, train_here

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not IS_INSTALLED, reason="Ray is not installed"),
]


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
    return contract_spec(tiny_llama, rows_file, launcher="ray")


class TestRay(LauncherContract):
    """With a job for each start."""


def test_a_job_is_followed_again_and_a_newer_token_ends_it_and_nothing_is_lost(
    engine, spec, settings, tmp_path
):
    directory = started(engine, spec)
    worker = suspended(directory)
    watcher = living_worker(directory)
    os.kill(watcher.pid, signal.SIGKILL)  # the job goes on
    until(lambda: living_worker(directory) not in (None, watcher), engine)
    engine.runs.pause(directory.path.name)
    until(directory.stop_requested, engine)
    assert read_tenancy(directory).token == 1
    worker.resume()
    assert ended(engine, directory) is RunState.PAUSED, directory.log_tail()
    engine.runs.resume(directory.path.name)
    until(lambda: worker_of(directory) is not None, engine)
    token = read_tenancy(directory).token
    write_tenancy(directory, Tenancy(token=token + 5))
    until(lambda: worker_of(directory) is None, engine)
    assert ended(engine, directory) is RunState.INTERRUPTED, directory.log_tail()
    train_here(spec, directory.path, settings, resume=True)  # elsewhere: on this machine
    whole, _ = train_here(spec, tmp_path / "whole", settings)
    assert losses(directory) == losses(whole)


def test_a_run_that_asks_for_what_nobody_has_waits_says_so_and_is_cancelled(engine, spec):
    cards = spec.model_copy(update={"resources": spec.resources.model_copy(update={"gpus": 3})})
    directory = engine.runs.directory(engine.runs.submit(cards).id)
    until(lambda: "waits for 1 cores, 3 GPUs" in directory.log_tail(), engine)
    until(lambda: waits_in_queue(directory), engine)
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
    suspended(directory)
    cluster.kill()
    assert ended(engine, directory) is RunState.INTERRUPTED, directory.log_tail()
    assert worker_of(directory) is None
    refused = engine.runs.directory(engine.runs.submit(spec).id)
    assert ended(engine, refused) is RunState.FAILED
    assert "LORA_RAY_ADDRESS" in refused.result().error.remedy
    train_here(spec, directory.path, settings, resume=True)
    whole, _ = train_here(spec, tmp_path / "whole", settings)
    assert losses(directory) == losses(whole)
