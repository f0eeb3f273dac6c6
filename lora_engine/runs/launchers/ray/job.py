"""The job on a node: keeps the worker of one run, and shows that it lives.

    python -m lora_engine.runs.launchers.ray.job RUN_DIR --token N [--resume] [--storage URL]
                                                 [--sent-with PACKAGE=VERSION ...]

With --storage this node does not see the run's folder, and RUN_DIR says only the run's id: the job
makes a folder of its own from the storage, and gives there what the worker writes.

It writes the heartbeat, and kills the worker as soon as its token is not the newest any more: the
run then belongs to another job, or to another machine. SIGTERM, Ray's own stop, kills it too; a
stop that saves comes through the run's folder. What a person can mend is printed for the watcher.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from lora_engine.errors import EngineError
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launchers.ray.apart import Fenced, Stopped, There
from lora_engine.runs.launchers.ray.last_words import PROBLEM
from lora_engine.runs.launchers.ray.node import refuse_missing_packages, refuse_other_program
from lora_engine.runs.launchers.ray.storage import open_storage
from lora_engine.runs.launchers.ray.tenancy import (
    Heartbeat,
    read_tenancy,
    write_heartbeat,
)
from lora_engine.runs.launchers.versions import add_versions, log_other_versions, other_versions

BEAT_S = 0.5
LOST_FOLDER_S = 60.0  # a disk that is full or away for longer ends the job
FENCED = 75
LOST = 74
NOT_OURS = "This run is another job's now."
PR_SET_PDEATHSIG = 1  # of prctl(2)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lora_engine.runs.launchers.ray.job")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument("--token", type=int, required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--storage", metavar="URL")
    add_versions(parser)
    options = parser.parse_args()
    try:
        refuse_other_program(Path.cwd())
        refuse_missing_packages()
    except EngineError as error:
        _say_problem(error)
        return 2
    others = other_versions(options.sent_with)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    if options.storage is not None:
        run = options.run_dir.name
        return run_apart(options.storage, run, options.token, options.resume, stopped, others)
    place = SharedFolder(RunDirectory(options.run_dir), options.token)
    if not place.directory.spec_path.exists():
        print(f"{PROBLEM}this node does not see {place.directory.path}.", file=sys.stderr)
        return 2
    return _run(place, os.environ, options.resume, stopped, others)


def _say_problem(error: Exception) -> None:
    """In one line, by which the watcher knows it."""
    print(f"{PROBLEM}{' '.join(str(error).split())}", file=sys.stderr, flush=True)


class Place(Protocol):
    """Where the job shows that it lives, and where what the worker makes goes."""

    directory: RunDirectory

    def beat(self) -> None:
        """Show that the job lives. Raises Fenced; OSError and EngineError where it cannot."""
        ...

    def exchange(self) -> None:
        """Bring to the run what is asked of it, and out of it what is new. Raises as `beat`."""
        ...


class SharedFolder:
    """The run's own folder, which this node sees."""

    def __init__(self, directory: RunDirectory, token: int) -> None:
        self.directory = directory
        self._token = token
        self._beat = 0

    def beat(self) -> None:
        if read_tenancy(self.directory).token != self._token:
            raise Fenced
        self._beat += 1
        write_heartbeat(self.directory, Heartbeat(token=self._token, beat=self._beat))

    def exchange(self) -> None:
        """Nothing: all is there already."""


def run_apart(
    url: str, run: str, token: int, resume: bool, stopped: threading.Event, others: str = ""
) -> int:
    """Train in a folder of this node. It stays where the storage did not take what it holds."""
    folder = Path(tempfile.mkdtemp(prefix="rankscope-"))
    is_given = False
    try:
        there = There(open_storage(url), run, token, folder)
        there.begin(stopped)
        environment = {
            **os.environ,
            "LORA_DATA_DIR": str(folder),
            "LORA_MODELS_DIR": str(folder / "models"),
        }
        status = _run(there, environment, resume, stopped, others)
        is_given = status == FENCED or _given(there, 0 if status == LOST else LOST_FOLDER_S)
        return status if is_given else LOST
    except Stopped:
        is_given = True
        return -signal.SIGTERM
    except Fenced:
        is_given = True
        print(NOT_OURS, file=sys.stderr)
        return FENCED
    except (OSError, EngineError) as error:
        is_given = not (folder / "runs" / run / "metrics.jsonl").exists()
        _say_problem(error)
        return 2
    finally:
        if is_given:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"What the run left lies on this node in {folder}.", file=sys.stderr)


def _given(there: There, patience_s: float) -> bool:
    """Whether the storage has taken the last of the run, asked for some time."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            there.give()
            return True
        except Fenced:
            return True  # whoever has the run now has what there was
        except (OSError, EngineError) as error:
            if time.monotonic() > deadline:
                _say_problem(error)
                return False
        time.sleep(BEAT_S)


def _run(
    place: Place,
    environment: Mapping[str, str],
    resume: bool,
    stopped: threading.Event,
    others: str,
) -> int:
    """Train, and beat until the worker ends; its exit status, FENCED or LOST.

    others: packages whose versions are not those of the machine that sent the job."""
    try:
        place.beat()
    except Fenced:
        return FENCED
    log_other_versions(place.directory, others)
    worker = _worker(place.directory, environment, resume)
    try:
        return _keep(worker, place, stopped)
    finally:
        _kill(worker)


def _keep(worker: subprocess.Popen, place: Place, stopped: threading.Event) -> int:
    well_at = time.monotonic()
    while not stopped.is_set():
        try:
            place.beat()
            place.exchange()
            well_at = time.monotonic()
        except Fenced:
            print(NOT_OURS, file=sys.stderr)
            return FENCED
        except (OSError, EngineError) as error:
            if time.monotonic() - well_at > LOST_FOLDER_S:
                _say_problem(error)
                return LOST
        try:
            return worker.wait(BEAT_S)
        except subprocess.TimeoutExpired:
            continue
    return -signal.SIGTERM


def _worker(
    directory: RunDirectory, environment: Mapping[str, str], resume: bool
) -> subprocess.Popen:
    """The worker, which dies with this process. The run's lock is the watcher's, on another
    machine; what it is given in its place only has to be an open file."""
    descriptor = os.open(directory.path, os.O_RDONLY)
    command = [sys.executable, "-m", "lora_engine.training.worker", str(directory.path)]
    command += ["--lock-fd", str(descriptor), *["--resume"] * resume]
    with directory.log_path.open("ab") as log_file:
        worker = subprocess.Popen(
            command,
            env=environment,
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
