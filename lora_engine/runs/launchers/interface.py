"""What a launcher is: a place where runs train, behind five calls. This machine is one.

The supervisor holds one of each and knows no more of a place than this. A run's identity is its
folder: no scheduler's number names it. Knows nothing of the list of runs.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launcher import HeldRun


class Stop(Enum):
    """How runs are stopped. SAVE: after the present step, with a checkpoint. NOW: killed."""

    SAVE = "save"
    NOW = "now"


@dataclass(frozen=True)
class Order:
    """How runs are to start. resume: each goes on from its newest valid checkpoint, where it has
    one. device: of this machine; a cluster has no use for it. stop_worse: the worker ends runs that
    are clearly worse than another of them."""

    resume: bool
    device: str
    stop_worse: bool = False


@dataclass(frozen=True)
class Watched:
    """Whether a process here trains or follows the run. lost_watcher: it may go on elsewhere, and
    nothing here follows it any more; `start` takes it up again."""

    is_alive: bool
    lost_watcher: bool = False


class Launcher(Protocol):
    """A place where runs train.

    name: as `spec.launcher` has it. stop_patience_s: how long a stop may take before it is done
    with NOW.
    """

    name: str
    stop_patience_s: float

    def start(self, runs: Sequence[HeldRun], order: Order) -> subprocess.Popen:
        """Start these runs together, handing on their locks, or take up the one that goes on there.
        Elsewhere each run starts by itself. What is returned only has to be reaped. Raises OSError;
        the locks are closed in any case."""
        ...

    def poll(self, directory: RunDirectory) -> Watched:
        """Whether the run goes on. Quick: asks this machine alone."""
        ...

    def stop(self, directory: RunDirectory, how: Stop) -> bool:
        """Ask that all runs of this run's worker stop; False where there is nobody to ask."""
        ...

    def log(self, directory: RunDirectory, lines: int) -> str:
        """The last lines of what the run said, and of what its place said about it."""
        ...

    def fetch(self, directory: RunDirectory) -> None:
        """Bring into the folder what the run left elsewhere: metrics, checkpoints, adapter, result.

        Raises EngineError where its place cannot be reached."""
        ...
