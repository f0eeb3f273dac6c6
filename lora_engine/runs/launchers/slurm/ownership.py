"""Which Slurm job trains in a run's folder: a lock that the job holds, and the job's number.

    slurm.lock   held by the job for life, over the shared disk; holds the number of its job
    slurm.json   the job that somebody watches; gone when it is over

The watcher holds the run's own `lock` on this machine. This one keeps two jobs apart, as when a
node comes back that Slurm had given up. Knows nothing of Slurm's commands.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from pydantic import BaseModel

from lora_engine.files import read_bounded, write_atomically
from lora_engine.operating_system import try_lock
from lora_engine.run_folder import RunDirectory

MAX_BYTES = 10_000
LOOK_S = 0.2


class WatchedJob(BaseModel):
    """What `slurm.json` says."""

    job: str


def remember_job(directory: RunDirectory, number: str) -> None:
    write_atomically(_watched_path(directory), WatchedJob(job=number).model_dump_json().encode())


def forget_job(directory: RunDirectory) -> None:
    _watched_path(directory).unlink(missing_ok=True)


def remembers_job(directory: RunDirectory) -> bool:
    """Whether a job was submitted of which nobody has seen the end."""
    return _watched_path(directory).exists()


def take_for_job(directory: RunDirectory, number: str, patience_s: float) -> int | None:
    """The lock for this job, as a descriptor; None where another process keeps it."""
    descriptor = _locked(directory, patience_s)
    if descriptor is not None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, number.encode(), 0)
    return descriptor


def has_begun(directory: RunDirectory, number: str) -> bool:
    """Whether this job came so far that it held the lock."""
    try:
        return read_bounded(_lock_path(directory), MAX_BYTES).decode() == number
    except (OSError, ValueError):
        return False


def wait_until_free(directory: RunDirectory, patience_s: float) -> bool:
    """Wait until no job holds the lock; False where one keeps it."""
    descriptor = _locked(directory, patience_s)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def _locked(directory: RunDirectory, patience_s: float) -> int | None:
    descriptor = os.open(_lock_path(directory), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience_s
    while True:
        if try_lock(descriptor):
            return descriptor
        if time.monotonic() > deadline:
            os.close(descriptor)
            return None
        time.sleep(LOOK_S)


def _lock_path(directory: RunDirectory) -> Path:
    return directory.path / "slurm.lock"


def _watched_path(directory: RunDirectory) -> Path:
    return directory.path / "slurm.json"
