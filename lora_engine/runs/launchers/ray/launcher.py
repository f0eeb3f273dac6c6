"""The launcher of a Ray cluster: a small process here watches the job of each run there.

The cluster's nodes and this machine share the data folder, so a run's folder is written where it is
read; or they share a storage, and the watching process brings here what the job leaves there. Runs
of a sweep are jobs of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence

from lora_engine.devices import CPU
from lora_engine.errors import Unreadable
from lora_engine.run_folder import RunDirectory, is_alive
from lora_engine.runs.launcher import (
    PROJECT_ROOT,
    HeldRun,
    signal_worker,
    worker_environment,
)
from lora_engine.runs.launchers.interface import Order, Stop, Watched
from lora_engine.runs.launchers.ray.forgetting import LOG, note
from lora_engine.runs.launchers.ray.tenancy import read_tenancy
from lora_engine.runs.launchers.watching import SIGNALS, settings_of, start_watcher
from lora_engine.settings import Settings

ACCESS = ("AWS_", "AZURE_", "FSSPEC_", "GOOGLE_")  # what opens a storage; no job is told it


class RayLauncher:
    """Trains as jobs of Ray."""

    name = "ray"
    stop_patience_s = 60.0

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def start(self, runs: Sequence[HeldRun], order: Order) -> subprocess.Popen:
        """Start the process that submits the run's job, or takes it up, and watches it."""
        (run,) = runs
        environment = worker_environment(os.environ, self._settings, CPU)
        environment |= settings_of(self.name, self._settings)
        if self._settings.ray_storage is not None:
            environment |= self._access()
        return start_watcher("lora_engine.runs.launchers.ray.watch", run, environment, order.resume)

    def forget(self, run: str, storage: str) -> None:
        """Of a deleted run: let a process remove what its storage keeps. Raises OSError."""
        note(run, storage, self._settings)
        environment = worker_environment(os.environ, self._settings, CPU) | self._access()
        with (self._settings.data_dir / LOG).open("ab") as log_file:
            process = subprocess.Popen(
                [sys.executable, "-m", "lora_engine.runs.launchers.ray.forgetting"],
                cwd=PROJECT_ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
            )
        threading.Thread(target=process.wait, name="ray-forgets", daemon=True).start()

    def _access(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name.startswith(ACCESS)}

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
        """Nothing: the folder is shared, or the watching process fills it."""
