"""The list of runs under fire: locked, full, torn, two servers at once, a clock that jumps."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest

from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.run_folder import RunDirectory, is_alive, name_worker
from lora_engine.run_folder.worker_identity import identity_of
from lora_engine.runs.launcher import is_stopped, lock_patiently, signal_worker
from lora_engine.runs.launchers import LocalLauncher
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunStore
from lora_engine.runs.supervisor import Supervisor
from lora_engine.spec import RunSpec
from tests.waiting import wait_until

PATIENCE_S = 60


@pytest.fixture
def store(settings) -> RunStore:
    return RunStore(settings.database_path, patience_s=0.2)


def add_run(store: RunStore, settings, run_id: str) -> RunDirectory:
    directory = RunDirectory(settings.runs_dir / run_id)
    directory.create(RunSpec())
    store.add(run_id, RunSpec())
    return directory


def hold(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def test_a_locked_list_is_read_all_the_same_and_a_change_says_why_it_cannot_be(store, settings):
    store.add("a", RunSpec())
    holder = hold(settings.database_path)
    assert [record.id for record in store.list()] == ["a"]
    with pytest.raises(EngineError, match="database is locked") as caught:
        store.move("a", [RunState.QUEUED], RunState.CANCELLED)
    assert "Runs that are going go on" in caught.value.remedy
    holder.execute("ROLLBACK")
    holder.close()
    assert store.move("a", [RunState.QUEUED], RunState.CANCELLED)


def test_a_change_waits_for_a_lock_that_is_released(settings):
    store = RunStore(settings.database_path)
    store.add("a", RunSpec())
    holder = hold(settings.database_path)
    threading.Timer(0.5, lambda: (holder.execute("ROLLBACK"), holder.close())).start()
    assert store.move("a", [RunState.QUEUED], RunState.CANCELLED)


def test_a_full_disk_refuses_a_new_run_and_keeps_the_others(store, settings, monkeypatch):
    store.add("a", RunSpec())
    connect = sqlite3.connect

    def full(*arguments, **more):
        connection = connect(*arguments, **more)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    monkeypatch.setattr(sqlite3, "connect", full)
    large = RunSpec(name="x" * 200, base_model="y" * 1000)

    def add_many() -> None:
        for number in range(100):
            store.add(f"b{number}", large)

    with pytest.raises(EngineError, match="full"):
        add_many()
    assert store.get("a").state is RunState.QUEUED
    monkeypatch.undo()
    assert store.add("c", large).state is RunState.QUEUED


def test_a_list_that_is_no_database_is_named(settings):
    settings.database_path.parent.mkdir(parents=True)
    settings.database_path.write_bytes(b"no database at all " * 100)
    with pytest.raises(EngineError, match=r"runs\.db.*not a database"):
        RunStore(settings.database_path)


def test_a_list_of_before_notes_and_places_is_taken_over(settings):
    settings.database_path.parent.mkdir(parents=True)
    with sqlite3.connect(settings.database_path) as old:
        old.executescript(
            "CREATE TABLE runs (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, "
            "name TEXT, state TEXT, spec TEXT, resume INTEGER DEFAULT 0, created_at REAL, "
            "started_at REAL, ended_at REAL, device TEXT)"
        )
        for name in ("a", "b"):
            old.execute(
                "INSERT INTO runs (id, name, state, spec, created_at) VALUES (?, ?, ?, ?, 1)",
                (name, name, "queued", RunSpec().model_dump_json()),
            )
    old.close()
    store = RunStore(settings.database_path)
    assert [record.id for record in store.queue()] == ["a", "b"]
    assert (store.get("a").note, store.get("a").tags) == ("", ())
    assert RunStore(settings.database_path).swap_in_queue("a", "b")
    assert [record.id for record in store.queue()] == ["b", "a"]


class FakeWorkers:
    """`launch` without a training: a process that only holds the lock for a moment.

    most_at_once: of the locks that were held together.
    """

    def __init__(self, seconds: float = 0.2) -> None:
        self.started: list[str] = []
        self.most_at_once = 0
        self._seconds = seconds
        self._started: list[RunDirectory] = []

    def launch(self, runs, settings, resume, device, stop_worse) -> subprocess.Popen:
        (run,) = runs
        lock = run.lock
        self.started.append(run.directory.path.name)
        process = subprocess.Popen(
            ["sleep", str(self._seconds)], pass_fds=(lock.descriptor,), start_new_session=True
        )
        name_worker(run.directory, lock.descriptor, process.pid)
        lock.close()
        self._started.append(run.directory)
        self.most_at_once = max(self.most_at_once, sum(map(is_alive, self._started)))
        return process


def test_two_servers_on_one_data_folder_start_each_run_once_one_at_a_time(settings, monkeypatch):
    workers = FakeWorkers()
    monkeypatch.setattr("lora_engine.runs.launchers.local.launch", workers.launch)
    names = [f"run-{number}" for number in range(6)]
    store = RunStore(settings.database_path)
    for name in names:
        add_run(store, settings, name)
    servers = [Supervisor(RunStore(settings.database_path), settings) for _ in range(3)]
    deadline = time.monotonic() + 30

    def serve(server: Supervisor) -> None:
        while time.monotonic() < deadline and any(
            record.state in (RunState.QUEUED, RunState.RUNNING) for record in store.list()
        ):
            server.tick()

    threads = [threading.Thread(target=serve, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert workers.started == names
    assert workers.most_at_once == 1
    assert {record.state for record in store.list()} == {RunState.INTERRUPTED}


def test_news_of_an_earlier_start_does_not_end_the_present_one(store, settings):
    add_run(store, settings, "a")
    store.claim(["a"], "cpu")
    earlier = store.get("a").started_at
    store.move("a", [RunState.RUNNING], RunState.INTERRUPTED)
    store.requeue(["a"])
    time.sleep(0.01)
    store.claim(["a"], "cpu")
    assert not store.move("a", [RunState.RUNNING], RunState.INTERRUPTED, earlier)
    assert store.get("a").state is RunState.RUNNING


def test_a_clock_that_jumps_a_day_loses_no_worker(store, settings, monkeypatch):
    """The worker's identity is in ticks since the start of the machine, whatever the clock says."""
    workers = FakeWorkers(seconds=60)
    monkeypatch.setattr("lora_engine.runs.launchers.local.launch", workers.launch)
    directory = add_run(store, settings, "a")
    engine = Engine(settings)
    engine.runs.refresh()
    assert store.get("a").state is RunState.RUNNING
    clock = time.time
    for jump in (86_400, -86_400):
        monkeypatch.setattr(time, "time", lambda jump=jump: clock() + jump)
        monkeypatch.setattr(psutil, "boot_time", lambda jump=jump: jump)
        engine.runs.refresh()
        assert engine.runs.get("a").record.state is RunState.RUNNING
        assert engine.runs.stall("a") is None
    engine.runs.cancel("a")
    engine.runs.cancel("a")
    wait_until(lambda: not is_alive(directory), PATIENCE_S)
    engine.runs.refresh()
    assert engine.runs.get("a").record.state is RunState.CANCELLED


def test_a_worker_that_was_stopped_is_said_to_be(settings, monkeypatch):
    workers = FakeWorkers(seconds=60)
    monkeypatch.setattr("lora_engine.runs.launchers.local.launch", workers.launch)
    monkeypatch.setattr(LocalLauncher, "stop_patience_s", 0.1)
    engine = Engine(settings)
    directory = add_run(RunStore(settings.database_path), settings, "a")
    engine.runs.refresh()
    assert engine.runs.stall("a") is None
    signal_worker(directory, 19)  # SIGSTOP
    wait_until(lambda: is_stopped(directory), PATIENCE_S)
    assert engine.runs.stall("a").is_stopped
    engine.runs.cancel("a")
    wait_until(lambda: not engine.runs.refresh() and not is_alive(directory), PATIENCE_S, 0.1)
    engine.runs.refresh()
    assert engine.runs.get("a").record.state is RunState.CANCELLED


def test_a_lock_of_another_boot_or_another_process_is_never_signalled(settings):
    directory = RunDirectory(settings.runs_dir / "a")
    directory.create(RunSpec())
    own = identity_of(os.getpid())
    for other in (
        own.model_copy(update={"boot": "another"}),
        own.model_copy(update={"started": own.started + 1}),
        own.model_copy(update={"pid": 2**22 - 1}),
    ):
        directory.lock_path.write_text(other.model_dump_json())
        assert not signal_worker(directory, 0)
    directory.lock_path.write_bytes(b"\x00torn")
    assert not signal_worker(directory, 0)
    assert not is_stopped(directory)
    lock_patiently(directory).close()
