"""The supervisor: watches the workers, records in the list how their runs end, starts the next.

`tick()` looks at everything once. A server calls it twice a second from a thread; the command
line calls it before it answers. The only state that it holds is when it asked a worker to stop,
so a restarted server adopts the running workers by looking at their locks.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time

from lora_engine.devices import list_devices
from lora_engine.errors import EngineError, Unreadable
from lora_engine.run_folder import (
    RunDirectory,
    RunProblem,
    RunResult,
    is_alive,
    try_lock,
)
from lora_engine.runs.launcher import launch, signal_worker
from lora_engine.runs.states import ACTIVE, RunState
from lora_engine.runs.store import RunRecord, RunStore
from lora_engine.settings import Settings

log = logging.getLogger(__name__)
TICK_S = 0.5
STOP_PATIENCE_S = 8.0  # from SIGTERM to SIGKILL for a run that is cancelled


class Supervisor:
    """Keeps the list of runs true to what the workers do."""

    def __init__(self, store: RunStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._stop_asked: dict[str, float] = {}
        self._children: list[subprocess.Popen] = []
        self._ticking = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. The workers go on."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def tick(self) -> None:
        """Record which workers ended, stop those that should stop, start what may start."""
        with self._ticking:
            for record in self._store.list(ACTIVE):
                self._look_after(record)
            self._start_waiting()
            # Reaps children that ended, so that none stays a zombie.
            self._children = [child for child in self._children if child.poll() is None]

    def _run(self) -> None:
        while not self._stopping.wait(TICK_S):
            try:
                self.tick()
            except (OSError, EngineError):
                log.exception("the supervisor could not look at the runs; it will try again")

    def _look_after(self, record: RunRecord) -> None:
        directory = self._directory(record)
        if not is_alive(directory):
            self._record_end(record, _result_of(directory))
        elif record.state in (RunState.PAUSING, RunState.CANCELLING):
            self._stop_worker(record)

    def _record_end(self, record: RunRecord, result: RunResult | None) -> None:
        """Record how the run of a worker that is gone ended: as its result says; interrupted where
        it left none."""
        if result is not None:
            state = RunState(result.state)
            if state is RunState.CANCELLED and record.state is RunState.PAUSING:
                state = RunState.PAUSED
        elif record.state is RunState.CANCELLING:
            state = RunState.CANCELLED
        elif record.state is RunState.PAUSING and self._directory(record).last_metrics() is None:
            state = RunState.PAUSED  # stopped before there was anything to save
        else:
            state = RunState.INTERRUPTED
        self._store.move(record.id, [record.state], state, record.started_at)
        self._stop_asked.pop(record.id, None)

    def _stop_worker(self, record: RunRecord) -> None:
        """Ask once with SIGTERM; a cancelled run that goes on gets SIGKILL after a while.

        A pause waits for as long as the step and the save take: a kill would lose the steps.
        """
        directory = self._directory(record)
        asked = self._stop_asked.get(record.id)
        if asked is None:
            if signal_worker(directory, signal.SIGTERM):
                self._stop_asked[record.id] = time.monotonic()
        elif record.state is RunState.CANCELLING and time.monotonic() - asked > STOP_PATIENCE_S:
            signal_worker(directory, signal.SIGKILL)

    def _start_waiting(self) -> None:
        """Start the first runs of the queue, one on each free device."""
        taken = {record.device for record in self._store.list(ACTIVE)}
        for device in list_devices(self._settings):
            record = self._store.next_queued() if device not in taken else None
            if record is not None:
                self._start(record, device)

    def _start(self, record: RunRecord, device: str) -> None:
        """Take the lock, claim the run, launch its worker.

        The lock comes first, so that another supervisor never sees a running run without one.
        """
        directory = self._directory(record)
        try:
            lock = try_lock(directory)
        except OSError:
            log.exception("run %s has no usable directory", record.id)
            self._store.move(record.id, [RunState.QUEUED], RunState.FAILED)
            return
        if lock is None:
            return
        if not self._store.claim([record.id], device):
            lock.close()
            return
        try:
            directory.clear_result()
            worker = launch(directory, self._settings, record.resume, lock, device)
            self._children.append(worker)
        except OSError as error:
            log.exception("run %s could not be started", record.id)
            self._store.move(record.id, [RunState.RUNNING], RunState.FAILED)
            directory.write_result(_not_started(error))

    def _directory(self, record: RunRecord) -> RunDirectory:
        return RunDirectory(self._settings.runs_dir / record.id)


def _result_of(directory: RunDirectory) -> RunResult | None:
    """The worker's result, None where it left none that can be read."""
    try:
        return directory.result()
    except Unreadable as error:
        log.error("%s", error)
        return None


def _not_started(error: Exception) -> RunResult:
    return RunResult.failed(
        RunProblem(
            problem=f"The worker could not be started: {error}",
            remedy="Look into worker.log in the run's directory, then resume the run.",
        )
    )
