"""The launcher of a Slurm cluster: a small process here watches the job of each run there.

The cluster's nodes and this machine share the data folder, so a run's folder is written where it is
read. Sweeps need no job array: each run is a job of its own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from lora_engine.devices import CPU
from lora_engine.run_folder import RunDirectory, is_alive
from lora_engine.runs.launcher import (
    HeldRun,
    names_hub,
    signal_worker,
    worker_environment,
)
from lora_engine.runs.launchers.interface import Order, Stop, Watched
from lora_engine.runs.launchers.slurm.ownership import forget_job, remembered_job
from lora_engine.runs.launchers.watching import SIGNALS, settings_of, start_watcher
from lora_engine.settings import Settings

# What Slurm's commands and ssh read.
PASSED_ON = ("SLURM_CONF", "SSH_AUTH_SOCK", "USER", "LOGNAME")


class SlurmLauncher:
    """Trains as jobs of Slurm."""

    name = "slurm"
    stop_patience_s = 120.0

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def start(self, runs: Sequence[HeldRun], order: Order) -> subprocess.Popen:
        """Start the process that submits the run's job, or takes it up, and watches it."""
        (run,) = runs
        if run.directory.result_path.exists():
            forget_job(run.directory)  # it is over, though nobody saw its end
        environment = watch_environment(os.environ, self._settings, names_hub(run, self._settings))
        module = "lora_engine.runs.launchers.slurm.watch"
        return start_watcher(module, run, environment, order.resume)

    def poll(self, directory: RunDirectory) -> Watched:
        if is_alive(directory):
            return Watched(is_alive=True)
        lost = remembered_job(directory) is not None and not directory.result_path.exists()
        return Watched(is_alive=False, lost_watcher=lost)

    def stop(self, directory: RunDirectory, how: Stop) -> bool:
        return signal_worker(directory, SIGNALS[how])

    def log(self, directory: RunDirectory, lines: int) -> str:
        return directory.log_tail(lines)

    def fetch(self, directory: RunDirectory) -> None:
        """Nothing: the folder is shared."""


def watch_environment(
    environment: Mapping[str, str], settings: Settings, with_token: bool
) -> dict[str, str]:
    """A worker's environment with what Slurm's commands need and the settings of Slurm."""
    passed = {name: environment[name] for name in PASSED_ON if name in environment}
    given = worker_environment(environment, settings, CPU, with_token)
    return {**given, **passed, **settings_of("slurm", settings)}
