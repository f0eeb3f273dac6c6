"""The supervisor: watches the workers, records in the list how their runs end, starts the next.

A worker trains one run, or several of a sweep. `tick()` looks at everything once. A server calls it
twice a second from a thread; the command line calls it before it answers. The only state that it
holds is when it asked a worker to stop, so a restarted server adopts the running workers by looking
at their locks.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Sequence

from lora_engine.access import LOCAL, acting_as
from lora_engine.devices import CPU, list_devices, named_devices
from lora_engine.errors import EngineError, Unreadable
from lora_engine.free_memory import device_memory
from lora_engine.language import remembering, tr
from lora_engine.run_folder import (
    RunDirectory,
    RunProblem,
    RunResult,
    living_worker,
    try_lock,
)
from lora_engine.runs.expected_base import base_of_ended_run, has_room
from lora_engine.runs.launcher import HeldRun, worker_environment
from lora_engine.runs.launchers import (
    Launcher,
    LocalLauncher,
    Order,
    Stop,
    launchers_elsewhere,
    waits_in_queue,
)
from lora_engine.runs.memory_room import MemoryRoom, read_wait, say_wait
from lora_engine.runs.record import RunRecord
from lora_engine.runs.shared_worker import runs_of_next_worker
from lora_engine.runs.states import ACTIVE, STOPPING, RunState
from lora_engine.runs.store import RunStore
from lora_engine.runs.sweep_folder import SweepFolder
from lora_engine.settings import Settings

log = logging.getLogger(__name__)
TICK_S = 0.5


class Supervisor:
    """Keeps the list of runs true to what the workers do.

    room: weighs the next run's memory; without one every run starts that has a device.
    """

    def __init__(self, store: RunStore, settings: Settings, room: MemoryRoom | None = None) -> None:
        self._store = store
        self._settings = settings
        self._room = room
        self._here = LocalLauncher(settings)
        self.standby = self._here.standby
        self._elsewhere = launchers_elsewhere(settings)
        self._stop_asked: dict[object, float] = {}  # by worker
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
        self.standby.close()

    def tick(self) -> None:
        """Record which workers ended, stop those that should stop, start what may start."""
        with acting_as(LOCAL), self._ticking:  # whoever asked: it looks after all runs
            self._look_after(self._store.list(ACTIVE))
            self._start_waiting()
            self._start_elsewhere()
            if self._thread is not None:
                self._look_after_standby()
            # Reaps children that ended, so that none stays a zombie.
            self._children = [child for child in self._children if child.poll() is None]

    def _run(self) -> None:
        while not self._stopping.wait(TICK_S):
            try:
                self.tick()
            except (OSError, EngineError):
                log.exception("the supervisor could not look at the runs; it will try again")

    def _look_after(self, records: Sequence[RunRecord]) -> None:
        """Record the ends of runs whose worker is gone or has let go of them; stop others."""
        by_worker: dict[object, list[RunRecord]] = defaultdict(list)
        for record in records:
            directory, place = self._directory(record), self._place(record)
            watched = place.poll(directory)
            if watched.is_alive:
                # A worker that has just started may not be named yet.
                by_worker[living_worker(directory) or record.id].append(record)
            elif watched.lost_watcher:
                self._take_up(record, place)
            else:
                result = _result_of(directory)
                self._record_end(record, result)
                ended = (record.spec, record.device, result)
                self.standby.expect(base_of_ended_run(*ended, self._settings))
        for worker, living in by_worker.items():
            self._stop(worker, living)
        self._stop_asked = {w: at for w, at in self._stop_asked.items() if w in by_worker}

    def _record_end(self, record: RunRecord, result: RunResult | None) -> None:
        """Record how a run ended that no worker holds: as its result says; interrupted where there
        is none. One that its worker stopped as worse than another can go on: it is paused. So is
        one that was paused before its worker had anything to save."""
        directory = self._directory(record)
        if result is not None:
            state = RunState(result.state)
            was_worse = result.stopped_because and record.state is RunState.RUNNING
            if state is RunState.CANCELLED and (was_worse or record.state is RunState.PAUSING):
                state = RunState.PAUSED
        elif record.state is RunState.CANCELLING:
            state = RunState.CANCELLED
        elif record.state is RunState.PAUSING and (
            directory.last_metrics() is None or waits_in_queue(directory)
        ):
            state = RunState.PAUSED
        else:
            state = RunState.INTERRUPTED
        self._store.move(record.id, [record.state], state, record.started_at)

    def _stop(self, worker: object, living: Sequence[RunRecord]) -> None:
        """Stop those runs of a worker that should stop.

        Where others go on, a file in its directory asks each. Else the worker is asked once, and
        killed where it goes on after a while and all its runs are cancelled. A pause waits for as
        long as the step and the save take: a kill would lose the steps.
        """
        stopping = [record for record in living if record.state in STOPPING]
        if len(stopping) < len(living):
            for record in stopping:
                self._directory(record).request_stop()
            return
        directory, place = self._directory(living[0]), self._place(living[0])
        asked = self._stop_asked.get(worker)
        are_cancelled = all(record.state is RunState.CANCELLING for record in living)
        if asked is None:
            if place.stop(directory, Stop.SAVE):
                self._stop_asked[worker] = time.monotonic()
            return
        if are_cancelled and time.monotonic() - asked > place.stop_patience_s:
            place.stop(directory, Stop.NOW)

    def _start_waiting(self) -> None:
        """Start the first runs of the queue, each worker on as many free devices as it asks for.

        The run that is next waits until there are enough, and those behind it wait with it.
        """
        active = self._store.list(ACTIVE)
        taken = {name for record in active for name in (record.device or "").split(",")}
        there = list_devices(self._settings)
        free = [name for name in there if name not in taken]
        while free:
            records = runs_of_next_worker(self._waiting(here=True))
            # one that asks for more than there are starts, and says so itself
            wanted = min(_devices_of(records[0]) if records else 1, max(1, len(there)))
            if wanted > len(free):
                return
            devices, free = free[:wanted], free[wanted:]
            if records and not any(self._waits_for_memory(records[0], one) for one in devices):
                self._start(records, named_devices(devices, wanted))

    def _start_elsewhere(self) -> None:
        """Start the first waiting runs of other places, each by itself, as many as may be there."""
        there = sum(self._place(record) is not self._here for record in self._store.list(ACTIVE))
        room = max(0, self._settings.max_elsewhere - there)
        for record in self._waiting(here=False)[:room]:
            self._start([record], f"{record.spec.launcher} {record.id}" if record.spec else "")

    def _waiting(self, here: bool) -> list[RunRecord]:
        """The queue of this machine, or that of all other places."""
        return [one for one in self._store.queue() if (self._place(one) is self._here) is here]

    def _place(self, record: RunRecord) -> Launcher:
        """The launcher of a run; this machine's where the spec cannot be read."""
        return self._elsewhere.get(record.spec.launcher, self._here) if record.spec else self._here

    def _take_up(self, record: RunRecord, place: Launcher) -> None:
        """Follow again a run whose watcher is gone, as after this machine was started anew."""
        run = self._lock(record)
        if run is None:
            return
        try:
            order = Order(resume=True, device=record.device or "")
            self._children.append(place.start([run], order))
        except OSError:  # one run's folder stops nobody's else
            log.exception("run %s could not be followed again", record.id)

    def _waits_for_memory(self, record: RunRecord, device: str) -> bool:
        """Whether the next run must wait for memory, which its folder then says.

        Without the thread, as on the command line, this process looks once and knows no model of
        the server's: it leaves what stands there.
        """
        if self._room is None or record.spec is None:
            return False
        wait = self._room.wait_of(record.id, record.spec, device)
        directory = self._directory(record)
        try:
            if wait is None:
                directory.waiting_path.unlink(missing_ok=True)
            elif self._thread is not None or read_wait(directory) is None:
                say_wait(directory, wait)
        except OSError:
            log.exception("what run %s waits for could not be written", record.id)
        return wait is not None

    def _start(self, records: Sequence[RunRecord], device: str) -> None:
        """Take the runs' locks, claim them, launch their worker.

        The locks come first, so that another supervisor never sees a running run without one.
        """
        locked = {record.id: run for record in records if (run := self._lock(record)) is not None}
        claimed = self._store.claim(list(locked), device) if locked else ()
        for run_id in locked.keys() - set(claimed):
            locked.pop(run_id).lock.close()
        if not claimed:
            return
        started = [record for record in records if record.id in locked]
        runs = [locked[record.id] for record in started]
        order = Order(
            resume=any(record.resume for record in started),
            device=device,
            stop_worse=len(runs) > 1 and self._stops_worse(started[0]),
        )
        try:
            self._children.append(self._place(started[0]).start(runs, order))
        except OSError as error:
            for run in runs:
                log.exception("run %s could not be started", run.directory.path.name)
                self._store.move(run.directory.path.name, [RunState.RUNNING], RunState.FAILED)
                with remembering():
                    run.directory.write_result(_not_started(error))

    def _look_after_standby(self) -> None:
        """Start a process for the next run where one is expected, nothing trains and there is
        memory; end one that has waited too long."""
        self.standby.look_after()
        trains = any(self._place(one) is self._here for one in self._store.list(ACTIVE))
        if trains or not self.standby.is_wanted:
            return
        device, base = list_devices(self._settings)[0], self.standby.base
        there = device_memory(CPU)
        if not has_room(there):
            self.standby.let_go()
            return
        environment = worker_environment(os.environ, self._settings, device)
        self.standby.start(environment, base if has_room(there, base) else None)

    def _stops_worse(self, record: RunRecord) -> bool:
        """Whether the sweep of a run says that what is clearly worse is to be stopped."""
        try:
            folder = SweepFolder(self._settings.sweeps_dir / (record.sweep or ""))
            return folder.read().spec.stop_worse
        except Unreadable as error:
            log.error("%s", error)
            return False

    def _lock(self, record: RunRecord) -> HeldRun | None:
        """The run with its lock; None where a worker holds it, or its directory is of no use."""
        directory = self._directory(record)
        try:
            lock = try_lock(directory)
        except OSError:
            log.exception("run %s has no usable directory", record.id)
            self._store.move(record.id, [RunState.QUEUED], RunState.FAILED)
            return None
        return None if lock is None else HeldRun(directory, lock)

    def _directory(self, record: RunRecord) -> RunDirectory:
        return RunDirectory(self._settings.runs_dir / record.id)


def _devices_of(record: RunRecord) -> int:
    """How many devices a run asks for."""
    return 1 if record.spec is None else record.spec.optimization.devices


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
            problem=tr("The worker could not be started: {error}", error=error),
            remedy=tr("Look into worker.log in the run's directory, then resume the run."),
        )
    )
