"""The launcher of a Ray cluster: a small process here watches the job of each run there.

The cluster's nodes and this machine share the data folder, so a run's folder is written where it is
read; or they share a storage, and the watching process brings here what the job leaves there. Runs
of a sweep are jobs of their own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from lora_engine.devices import CPU
from lora_engine.errors import Unreadable
from lora_engine.run_folder import RunDirectory, is_alive
from lora_engine.runs.launcher import HeldRun, signal_worker, worker_environment
from lora_engine.runs.launchers.interface import Order, Stop, Watched
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
        environment |= settings_of(self.name, self._settings) | self._access()
        return start_watcher("lora_engine.runs.launchers.ray.watch", run, environment, order.resume)

    def _access(self) -> dict[str, str]:
        if self._settings.ray_storage is None:
            return {}
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
