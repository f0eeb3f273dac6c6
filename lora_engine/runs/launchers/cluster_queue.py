"""Whether a run's job waits in the queue of its cluster: `queue.json`, which its watcher writes.

Knows no cluster.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pydantic import BaseModel

from lora_engine.files import read_bounded, write_atomically
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory

MAX_BYTES = 10_000
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobInQueue:
    """waits: whether the job waits. since: when that began, by the clock of the folder's disk. why:
    what it waits for, in the cluster's own words; empty where it does not say."""

    waits: bool
    since: float
    why: str = ""

    @property
    def words(self) -> str:
        """That it waits, and for what."""
        if not self.why or self.why == "None":
            return tr("Its job waits in the queue of the cluster.")
        return tr("Its job waits in the queue of the cluster: {why}.", why=self.why)


class _Said(BaseModel):
    waits: bool
    why: str = ""


class QueueNote:
    """Keeps the file of one run true; it is written when something changes."""

    def __init__(self, directory: RunDirectory) -> None:
        self._path = directory.path / "queue.json"
        self._said: _Said | None = None

    def say(self, waits: bool, why: str = "") -> None:
        said = _Said(waits=waits, why=why if waits else "")
        if said == self._said:
            return
        try:
            write_atomically(self._path, said.model_dump_json().encode())
            self._said = said
        except OSError as error:  # said again the next time
            log.warning("%s cannot be written: %s", self._path.name, error)


def read_queue(directory: RunDirectory) -> JobInQueue | None:
    """What the watcher said last; None for a run of this machine, and where nothing can be read."""
    path = directory.path / "queue.json"
    try:
        said = _Said.model_validate_json(read_bounded(path, MAX_BYTES))
        return JobInQueue(said.waits, path.stat().st_mtime, said.why)
    except (OSError, ValueError):
        return None


def waits_in_queue(directory: RunDirectory) -> bool:
    """Whether the run's job was waiting when its cluster was last asked."""
    queue = read_queue(directory)
    return queue is not None and queue.waits
