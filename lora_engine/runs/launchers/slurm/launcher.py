"""The launcher of a Slurm cluster: a small process here watches the job of each run there.

The cluster's nodes and this machine share the data folder, so a run's folder is written where it is
read. Sweeps need no job array: each run is a job of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from lora_engine.devices import CPU
from lora_engine.run_folder import RunDirectory, is_alive, name_worker
from lora_engine.runs.launcher import (
    PROJECT_ROOT,
    HeldRun,
    names_hub,
    signal_worker,
    worker_environment,
)
from lora_engine.runs.launchers.interface import Order, Stop, Watched
from lora_engine.runs.launchers.slurm.ownership import remembers_job
from lora_engine.settings import Settings, environment_names

# What Slurm's commands and ssh read.
PASSED_ON = ("SLURM_CONF", "SSH_AUTH_SOCK", "USER", "LOGNAME")
SIGNALS = {Stop.SAVE: signal.SIGTERM, Stop.NOW: signal.SIGINT}


class SlurmLauncher:
    """Trains as jobs of Slurm."""

    name = "slurm"
    stop_patience_s = 120.0

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def start(self, runs: Sequence[HeldRun], order: Order) -> subprocess.Popen:
        """Start the process that submits the run's job, or takes it up, and watches it."""
        (run,) = runs
        directory, descriptor = run.directory, run.lock.descriptor
        words = [sys.executable, "-m", "lora_engine.runs.launchers.slurm.watch"]
        words += [str(directory.path), "--lock-fd", str(descriptor), *["--resume"] * order.resume]
        try:
            directory.clear_result()
            directory.clear_stop_request()
            environment = watch_environment(
                os.environ, self._settings, names_hub(run, self._settings)
            )
            with directory.log_path.open("ab") as log_file:
                # A stop that comes before the process can answer it waits until it can.
                mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS.values())
                try:
                    process = subprocess.Popen(
                        words,
                        cwd=PROJECT_ROOT,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log_file,
                        stderr=log_file,
                        start_new_session=True,
                        pass_fds=[descriptor],
                    )
                finally:
                    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            name_worker(directory, descriptor, process.pid)
            return process
        finally:
            run.lock.close()

    def poll(self, directory: RunDirectory) -> Watched:
        if is_alive(directory):
            return Watched(is_alive=True)
        lost = remembers_job(directory) and not directory.result_path.exists()
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
    names = environment_names()
    passed = {name: environment[name] for name in PASSED_ON if name in environment}
    of_slurm = {
        names[field]: str(value)
        for field, value in settings
        if field.startswith("slurm_") and value is not None
    }
    return {**worker_environment(environment, settings, CPU, with_token), **passed, **of_slurm}
