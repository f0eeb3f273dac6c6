"""The lock of a run: an `flock` that says whether a worker lives.

It is taken before the worker starts and inherited by it; the kernel drops it when the last holder
dies, however it dies. A lock that was deleted meanwhile lets nobody else in: the process that
`worker_identity` names still counts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from lora_engine import operating_system
from lora_engine.run_folder.directory import RunDirectory
from lora_engine.run_folder.worker_identity import lost_its_lock


@dataclass(frozen=True)
class RunLock:
    """The held lock of a run, as an open file descriptor."""

    descriptor: int

    def close(self) -> None:
        os.close(self.descriptor)


def try_lock(directory: RunDirectory) -> RunLock | None:
    """Take the run's lock, or None where a living worker holds it."""
    descriptor = os.open(directory.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not operating_system.try_lock(descriptor) or lost_its_lock(directory):
        os.close(descriptor)
        return None
    return RunLock(descriptor)


def is_alive(directory: RunDirectory) -> bool:
    """Whether a worker holds the run's lock, or one lives that lost it. Never holds it exclusively.

    A shared lock is asked for, so that two askers do not take each other for a worker.
    """
    try:
        descriptor = os.open(directory.lock_path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # deleted, or in its place what cannot be opened
        return lost_its_lock(directory)
    try:
        is_free = operating_system.try_lock(descriptor, shared=True)
    finally:
        os.close(descriptor)
    return not is_free or lost_its_lock(directory)
