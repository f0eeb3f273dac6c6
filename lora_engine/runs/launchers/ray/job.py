"""The job on a node: keeps the worker of one run, and shows that it lives.

    python -m lora_engine.runs.launchers.ray.job RUN_DIR --token N [--resume]

It writes the heartbeat, and kills the worker as soon as its token is not the newest any more: the
run then belongs to another job, or to another machine. SIGTERM, Ray's own stop, kills it too; a
stop that saves comes through the run's folder.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from lora_engine.errors import Unreadable
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launchers.ray.tenancy import (
    Heartbeat,
    read_tenancy,
    write_heartbeat,
)

BEAT_S = 0.5
LOST_FOLDER_S = 60.0  # a disk that is full or away for longer ends the job
FENCED = 75
PR_SET_PDEATHSIG = 1  # of prctl(2)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lora_engine.runs.launchers.ray.job")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument("--token", type=int, required=True)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    directory = RunDirectory(options.run_dir)
    if not directory.spec_path.exists():
        print(f"error: this node does not see {directory.path}.", file=sys.stderr)
        return 2
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    if not _is_newest(directory, options.token):
        return FENCED
    worker = _worker(directory, options.resume)
    try:
        return _keep(worker, directory, options.token, stopped)
    finally:
        _kill(worker)


def _keep(
    worker: subprocess.Popen, directory: RunDirectory, token: int, stopped: threading.Event
) -> int:
    """Beat until the worker ends; its exit status, or FENCED."""
    beat, silent_s = 0, 0.0
    while not stopped.is_set():
        try:
            if not _is_newest(directory, token):
                print("error: this run is another job's now.", file=sys.stderr)
                return FENCED
            beat += 1
            write_heartbeat(directory, Heartbeat(token=token, beat=beat))
            silent_s = 0.0
        except (OSError, Unreadable) as error:
            silent_s += BEAT_S
            if silent_s > LOST_FOLDER_S:
                print(f"error: the run's folder is out of reach: {error}", file=sys.stderr)
                return FENCED
        try:
            return worker.wait(BEAT_S)
        except subprocess.TimeoutExpired:
            continue
    return -signal.SIGTERM


def _is_newest(directory: RunDirectory, token: int) -> bool:
    return read_tenancy(directory).token == token


def _worker(directory: RunDirectory, resume: bool) -> subprocess.Popen:
    """The worker, which dies with this process. The run's lock is the watcher's, on another
    machine; what it is given in its place only has to be an open file."""
    descriptor = os.open(directory.path, os.O_RDONLY)
    command = [sys.executable, "-m", "lora_engine.training.worker", str(directory.path)]
    command += ["--lock-fd", str(descriptor), *["--resume"] * resume]
    with directory.log_path.open("ab") as log_file:
        worker = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
            pass_fds=[descriptor],
            preexec_fn=_die_with_parent,
        )
    os.close(descriptor)
    return worker


def _die_with_parent() -> None:
    """In the child, before it becomes the worker: Linux kills it when this process is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _kill(worker: subprocess.Popen) -> None:
    if worker.poll() is None:
        worker.kill()
        worker.wait()


if __name__ == "__main__":
    sys.exit(main())
