"""Whether a run's job waits in the queue of its cluster: `queue.json`, which its watcher writes.

Knows no cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from lora_engine.files import read_bounded, write_atomically
from lora_engine.run_folder import RunDirectory

MAX_BYTES = 10_000


@dataclass(frozen=True)
class JobInQueue:
    """waits: whether the job waits. since: when that began, by the clock of the folder's disk."""

    waits: bool
    since: float


class _Said(BaseModel):
    waits: bool


class QueueNote:
    """Keeps the file of one run true; it is written when something changes."""

    def __init__(self, directory: RunDirectory) -> None:
        self._path = directory.path / "queue.json"
        self._said: bool | None = None

    def say(self, waits: bool) -> None:
        if waits != self._said:
            write_atomically(self._path, _Said(waits=waits).model_dump_json().encode())
        self._said = waits


def read_queue(directory: RunDirectory) -> JobInQueue | None:
    """What the watcher said last; None for a run of this machine, and where nothing can be read."""
    path = directory.path / "queue.json"
    try:
        said = _Said.model_validate_json(read_bounded(path, MAX_BYTES))
        return JobInQueue(said.waits, path.stat().st_mtime)
    except (OSError, ValueError):
        return None


def waits_in_queue(directory: RunDirectory) -> bool:
    """Whether the run's job was waiting when its cluster was last asked."""
    queue = read_queue(directory)
    return queue is not None and queue.waits
