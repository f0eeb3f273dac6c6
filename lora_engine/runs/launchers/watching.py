"""Watchers: the small processes of this machine that each follow one run's job on a cluster.

A watcher holds the run's lock, writes into the run's log and answers two signals: SIGTERM stops the
run with a checkpoint, SIGINT at once. Knows no cluster.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from lora_engine.environment import load_settings
from lora_engine.language import remembering
from lora_engine.run_folder import RunDirectory, name_worker
from lora_engine.runs.launcher import PROJECT_ROOT, HeldRun
from lora_engine.runs.launchers.interface import Stop
from lora_engine.runs.launchers.trouble import clear_trouble
from lora_engine.settings import Settings, environment_names

SIGNALS = {Stop.SAVE: signal.SIGTERM, Stop.NOW: signal.SIGINT}
LOOK_S = 0.1


def start_watcher(
    module: str, run: HeldRun, environment: Mapping[str, str], resume: bool
) -> subprocess.Popen:
    """Start `python -m module` for a run, handing it the run's lock.

    A stop that comes before it listens waits for it, and does not kill it. One that cannot be named
    could not be stopped: it is killed. Raises OSError; the lock is closed in any case.
    """
    directory, descriptor = run.directory, run.lock.descriptor
    words = [sys.executable, "-m", module, str(directory.path), "--lock-fd", str(descriptor)]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS.values())
    try:
        directory.clear_result()
        directory.clear_stop_request()
        clear_trouble(directory)
        with directory.log_path.open("ab") as log_file:
            process = subprocess.Popen(
                [*words, *["--resume"] * resume],
                cwd=PROJECT_ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
                pass_fds=[descriptor],
            )
        try:
            name_worker(directory, descriptor, process.pid)
        except OSError:
            process.kill()
            raise
        return process
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        run.lock.close()


def settings_of(place: str, settings: Settings) -> dict[str, str]:
    """The settings of one cluster, as environment variables for its watcher."""
    names = environment_names()
    return {
        names[field]: str(value)
        for field, value in settings
        if field.startswith(f"{place}_") and value is not None
    }


class Ear:
    """What a watcher was asked by a signal."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None

    def hear(self, number: int, frame: object = None) -> None:
        self.asked = signal.Signals(number)

    def wait(self, seconds: float) -> None:
        """Until then, or a signal that is not yet answered."""
        before, deadline = self.asked, time.monotonic() + seconds
        while time.monotonic() < deadline and self.asked is before:
            time.sleep(LOOK_S)


class Voice:
    """What a watcher says in the run's log; the same words only once in a row."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last = ""

    def say(self, words: str) -> None:
        if words != self._last:
            self._log.info("%s", words)
        self._last = words


class Watcher(Protocol):
    """Follows one run's job."""

    def follow(self, resume: bool) -> None: ...


def run_watcher(module: str, make: Callable[[RunDirectory, Settings, Ear], Watcher]) -> None:
    """The program of a watcher that `start_watcher` started."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument("--lock-fd", type=int, required=True)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    os.set_inheritable(options.lock_fd, False)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    ear = Ear()
    for number in SIGNALS.values():
        signal.signal(number, ear.hear)
    watcher = make(RunDirectory(options.run_dir), load_settings(), ear)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS.values())
    with remembering():
        watcher.follow(options.resume)
