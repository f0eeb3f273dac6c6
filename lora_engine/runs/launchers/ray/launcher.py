"""The launcher of a Ray cluster: a small process here watches the job of each run there.

The cluster's nodes and this machine share the data folder, so a run's folder is written where it is
read. Runs of a sweep are jobs of their own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from lora_engine.devices import CPU
from lora_engine.errors import Unreadable
from lora_engine.run_folder import RunDirectory, is_alive, name_worker
from lora_engine.runs.launcher import PROJECT_ROOT, HeldRun, signal_worker, worker_environment
from lora_engine.runs.launchers.interface import Order, Stop, Watched
from lora_engine.runs.launchers.ray.tenancy import read_tenancy
from lora_engine.settings import Settings, environment_names

SIGNALS = {Stop.SAVE: signal.SIGTERM, Stop.NOW: signal.SIGINT}


class RayLauncher:
    """Trains as jobs of Ray."""

    name = "ray"
    stop_patience_s = 60.0

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def start(self, runs: Sequence[HeldRun], order: Order) -> subprocess.Popen:
        """Start the process that submits the run's job, or takes it up, and watches it."""
        (run,) = runs
        directory, descriptor = run.directory, run.lock.descriptor
        words = [sys.executable, "-m", "lora_engine.runs.launchers.ray.watch"]
        words += [str(directory.path), "--lock-fd", str(descriptor), *["--resume"] * order.resume]
        names = environment_names()
        of_ray = {
            names[field]: str(value)
            for field, value in self._settings
            if field.startswith("ray_") and value is not None
        }
        # A stop that comes before the process listens for it waits there, and does not kill it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS.values())
        try:
            directory.clear_result()
            directory.clear_stop_request()
            with directory.log_path.open("ab") as log_file:
                process = subprocess.Popen(
                    words,
                    cwd=PROJECT_ROOT,
                    env={**worker_environment(os.environ, self._settings, CPU), **of_ray},
                    stdin=subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=log_file,
                    start_new_session=True,
                    pass_fds=[descriptor],
                )
            name_worker(directory, descriptor, process.pid)
            return process
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            run.lock.close()

    def poll(self, directory: RunDirectory) -> Watched:
        if is_alive(directory):
            return Watched(is_alive=True)
        try:
            has_job = read_tenancy(directory).job is not None
        except Unreadable:
            has_job = False
        return Watched(is_alive=False, lost_watcher=has_job and not directory.result_path.exists())

    def stop(self, directory: RunDirectory, how: Stop) -> bool:
        return signal_worker(directory, SIGNALS[how])

    def log(self, directory: RunDirectory, lines: int) -> str:
        return directory.log_tail(lines)

    def fetch(self, directory: RunDirectory) -> None:
        """Nothing: the folder is shared."""
