"""Which process trains a run, written beside its lock: by it a lost lock is found out.

`lock` holds the process and `worker.json` names it again, with the lock's inode. A lock that was
deleted or replaced lets anybody take a new one, so whoever asks compares the inodes: where they
differ and the named process still lives, the run has its worker. Knows nothing of what it trains.
"""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict

from lora_engine.files import read_bounded, write_atomically
from lora_engine.operating_system import process_start
from lora_engine.run_folder.directory import RunDirectory

MAX_BYTES = 10_000


class WorkerIdentity(BaseModel):
    """A process id, with when it started, so that it means one process (`process_start`)."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: int
    boot: str


class _Named(BaseModel):
    """What `worker.json` says: the process, and the inode of the lock that it holds."""

    worker: WorkerIdentity
    lock_inode: int


def name_worker(directory: RunDirectory, lock: int, pid: int) -> None:
    """Write down, in the lock and beside it, that a process holds this lock (a descriptor).

    Raises OSError.
    """
    worker = identity_of(pid)
    named = _Named(worker=worker, lock_inode=os.fstat(lock).st_ino)
    write_atomically(directory.worker_path, named.model_dump_json().encode())
    os.ftruncate(lock, 0)
    os.pwrite(lock, worker.model_dump_json().encode(), 0)


def living_worker(directory: RunDirectory) -> WorkerIdentity | None:
    """The process that the lock names, or the file beside it, if it is still that process."""
    in_lock, beside = _in_lock(directory), _named(directory)
    if in_lock is not None and _lives(in_lock):
        return in_lock
    return beside.worker if beside is not None and _lives(beside.worker) else None


def lost_its_lock(directory: RunDirectory) -> bool:
    """Whether a process that still lives holds a lock which is no more the file of that name."""
    named = _named(directory)
    if named is None or not _lives(named.worker):
        return False
    try:
        return os.stat(directory.lock_path).st_ino != named.lock_inode
    except OSError:  # whatever is there now, it is not that lock
        return True


def identity_of(pid: int) -> WorkerIdentity:
    """Raises ProcessLookupError where there is no such process."""
    started, boot = process_start(pid)
    return WorkerIdentity(pid=pid, started=started, boot=boot)


def _lives(identity: WorkerIdentity) -> bool:
    try:
        return identity_of(identity.pid) == identity
    except ProcessLookupError:
        return False


def _in_lock(directory: RunDirectory) -> WorkerIdentity | None:
    try:
        content = read_bounded(directory.lock_path, MAX_BYTES)
        return WorkerIdentity.model_validate_json(content)
    except (OSError, ValueError):
        return None


def _named(directory: RunDirectory) -> _Named | None:
    try:
        return _Named.model_validate_json(read_bounded(directory.worker_path, MAX_BYTES))
    except (OSError, ValueError):
        return None
