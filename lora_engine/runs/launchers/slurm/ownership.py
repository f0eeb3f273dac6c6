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


def remembered_job(directory: RunDirectory) -> str | None:
    """The number of a job that was submitted and of which nobody has seen the end."""
    try:
        return WatchedJob.model_validate_json(read_bounded(_watched_path(directory), MAX_BYTES)).job
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return ""  # there is one, whichever it is


def job_that_trains(directory: RunDirectory) -> str | None:
    """The number of the job that holds the lock; None where nobody does."""
    try:
        if not _lock_path(directory).exists() or wait_until_free(directory, 0.0):
            return None
        return read_bounded(_lock_path(directory), MAX_BYTES).decode()
    except (OSError, ValueError):
        return None


def is_wanted(directory: RunDirectory, number: str, patience_s: float) -> bool:
    """Whether somebody follows this job. Its number is written down a moment after it is there, and
    a shared disk shows that late. Where nobody does, the run may train elsewhere."""
    deadline = time.monotonic() + patience_s
    while True:
        os.listdir(directory.path)  # read anew over a shared disk
        watched = remembered_job(directory)
        if watched or time.monotonic() > deadline:
            return watched == number
        time.sleep(LOOK_S)


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
