"""The launcher of this machine: a worker, in a fresh process or in the standby.

A worker trains one run, or several that share a base.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence

from lora_engine.run_folder import RunDirectory, is_alive
from lora_engine.runs.launcher import HeldRun, launch, signal_worker
from lora_engine.runs.launchers.interface import Order, Stop, Watched
from lora_engine.runs.standby import Standby, launch_from
from lora_engine.settings import Settings

SIGNALS = {Stop.SAVE: signal.SIGTERM, Stop.NOW: signal.SIGKILL}


class LocalLauncher:
    """Trains on this machine's devices. standby: the process that waits for the next run."""

    name = "local"
    stop_patience_s = 8.0

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.standby = Standby(settings.standby_minutes * 60)

    def start(self, runs: Sequence[HeldRun], order: Order) -> subprocess.Popen:
        """Start one worker of these runs; it sees no other GPU than `order.device`."""
        words = (runs, self._settings, order.resume, order.device, order.stop_worse)
        return launch_from(self.standby, *words) or launch(*words)

    def poll(self, directory: RunDirectory) -> Watched:
        return Watched(is_alive=is_alive(directory))

    def stop(self, directory: RunDirectory, how: Stop) -> bool:
        return signal_worker(directory, SIGNALS[how])

    def log(self, directory: RunDirectory, lines: int) -> str:
        return directory.log_tail(lines)

    def fetch(self, directory: RunDirectory) -> None:
        """Nothing: the worker writes the folder itself."""
