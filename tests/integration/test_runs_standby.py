"""The standby: a process with its imports done becomes the next run's worker, or is not missed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from lora_engine.devices import CPU
from lora_engine.engine import Engine
from lora_engine.runs.expected_base import ExpectedBase
from lora_engine.runs.launcher import worker_environment
from lora_engine.runs.standby import Standby
from lora_engine.runs.states import RunState
from lora_engine.spec import spec_from
from tests.waiting import is_gone, wait_until

PATIENCE_S = 180
pytestmark = pytest.mark.slow


def wait(condition: Callable[[], object]) -> None:
    wait_until(condition, PATIENCE_S)


@pytest.fixture
def engine(settings):
    engine = Engine(settings.model_copy(update={"standby_minutes": 10}))
    engine.start()
    yield engine
    engine.stop()
    assert engine._supervisor.standby.process_id is None


def test_a_run_from_the_standby_is_the_run_from_a_cold_start(engine, tiny_llama, rows_file):
    standby = engine._supervisor.standby
    spec = spec_from(
        {
            "base_model": str(tiny_llama),
            "dataset": {"source": str(rows_file), "eval_fraction": 0.2},
            "method": {"rank": 2, "dropout": 0.1},
            "optimization": {"max_steps": 4, "batch_size": 2, "eval_every": 2},
        }
    )

    def trained(has_base: bool = False) -> tuple[int, list[tuple[float, float | None]]]:
        """The worker's process id, and the losses. has_base: as the log should say."""
        run = engine.runs.submit(spec)
        directory = engine.runs.directory(run.id)
        wait(lambda: engine.runs.get(run.id).record.state is RunState.FINISHED)
        log = directory.log_tail()
        assert "finished after step 4" in log
        assert ("the base model was loaded ahead" in log) is has_base
        worker = json.loads(directory.worker_path.read_text())["worker"]
        return worker["pid"], [(row.loss, row.eval_loss) for row in directory.metrics()]

    _, cold = trained()
    wait(lambda: standby.is_ready)  # the end of a run starts it
    waiting = standby.process_id
    worker, warm = trained(has_base=True)
    assert worker == waiting
    assert warm == cold

    wait(lambda: standby.is_ready)
    another = standby.process_id
    os.kill(another, signal.SIGSTOP)  # it will not answer
    worker, without = trained()
    assert worker != another
    assert without == cold
    wait(lambda: is_gone(another))


def test_it_gives_its_memory_back(settings):
    environment = worker_environment(os.environ, settings, CPU)
    impatient, patient = Standby(idle_s=0.001), Standby(idle_s=3600)
    for one in (impatient, patient):
        one.expect()
        one.start(environment)
    pids = impatient.process_id, patient.process_id
    for one in (impatient, patient):
        one.look_after()
    assert impatient.process_id is None
    assert is_gone(pids[0])
    assert patient.process_id == pids[1]
    patient.let_go()  # as a run or a chat that lacks memory does
    assert is_gone(pids[1])


def test_a_base_takes_the_place_of_another_and_goes_when_a_run_starts_without_it(settings):
    environment = worker_environment(os.environ, settings, CPU)
    standby = Standby(idle_s=3600)
    standby.start(environment)
    bare = standby.process_id
    standby.let_base_go()
    assert standby.process_id == bare
    standby.start(environment, ExpectedBase("starter", "auto", 1))
    with_base = standby.process_id
    assert is_gone(bare)
    standby.start(environment)  # somebody opened Train: what waits is as good
    standby.start(environment, ExpectedBase("starter", "auto", 1))
    assert standby.process_id == with_base
    standby.let_base_go()
    assert is_gone(with_base)


def test_none_is_started_where_it_is_switched_off():
    off = Standby(idle_s=0)
    off.expect()
    assert not off.is_wanted


def test_none_is_started_after_the_end(settings):
    standby = Standby(idle_s=3600)
    standby.expect()
    standby.close()
    standby.start(worker_environment(os.environ, settings, CPU))
    assert standby.process_id is None


SERVER = """
import time
from lora_engine.engine import Engine
from lora_engine.environment import load_settings
engine = Engine(load_settings())
engine.start()
engine.runs.expect()
deadline = time.monotonic() + 180
while not engine._supervisor.standby.is_ready and time.monotonic() < deadline:
    time.sleep(0.05)
print(engine._supervisor.standby.process_id, flush=True)
time.sleep(600)
"""


def test_it_ends_with_a_server_that_is_killed(settings):
    environment = {
        **os.environ,
        "LORA_DATA_DIR": str(settings.data_dir),
        "LORA_DEVICE": "cpu",
        "LORA_STANDBY_MINUTES": "10",
    }
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            pid = int(server.stdout.readline())
            assert not is_gone(pid)
        finally:
            server.kill()
    wait(lambda: is_gone(pid))
