"""A run whose job waits in the queue of its cluster: it is not stalled, and a pause keeps it."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from lora_engine.engine import Engine
from lora_engine.run_folder import RunDirectory
from lora_engine.run_folder.metrics import MetricsWriter
from lora_engine.runs.launchers.cluster_queue import QueueNote, read_queue
from lora_engine.runs.stall_detection import find_stall
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunStore
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from tests.metrics_rows import metrics_row

ROW = metrics_row()
LONG_S = 3600.0


@pytest.fixture
def store(settings: Settings) -> RunStore:
    settings.data_dir.mkdir()
    store = RunStore(settings.database_path)
    store.add("run", RunSpec(launcher="slurm"))
    store.claim(["run"], "slurm run")
    return store


@pytest.fixture
def directory(settings: Settings) -> RunDirectory:
    """A run that logged a step long ago."""
    directory = RunDirectory(settings.runs_dir / "run")
    directory.create(RunSpec(launcher="slurm"))
    writer = MetricsWriter(directory.metrics_path)
    writer.write(ROW)
    writer.close()
    then = time.time() - LONG_S
    os.utime(directory.metrics_path, (then, then))
    return directory


def test_a_job_in_the_queue_and_one_that_has_just_left_it_are_not_stalled(store, directory):
    record = replace(store.get("run"), started_at=time.time() - LONG_S)
    assert find_stall(record, directory, ROW).seconds > LONG_S / 2
    note = QueueNote(directory)
    note.say(True)
    assert find_stall(record, directory, ROW) is None
    note.say(False)  # its worker loads the model now
    assert find_stall(record, directory, ROW) is None
    then = time.time() - LONG_S
    os.utime(directory.path / "queue.json", (then, then))
    note.say(False)  # nothing new
    assert find_stall(record, directory, ROW).seconds > LONG_S / 2


@pytest.mark.parametrize(
    ("waits", "ends"), [(True, RunState.PAUSED), (False, RunState.INTERRUPTED)]
)
def test_a_pause_of_a_job_that_waits_again_ends_as_paused(settings, store, directory, waits, ends):
    QueueNote(directory).say(waits)
    store.pause("run")
    engine = Engine(settings)
    engine.runs.refresh()
    assert engine.runs.get("run").record.state is ends


def test_what_cannot_be_read_says_nothing(directory):
    assert read_queue(directory) is None
    (directory.path / "queue.json").write_bytes(b"\x00torn")
    assert read_queue(directory) is None
