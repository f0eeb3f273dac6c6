"""Whether there is memory for the next run, and what it waits for where there is not.

What a run should need is weighed with what its device has free. A model that this process keeps
for answering, and that nobody asks at the moment, is let go for it. Where even that is too little
the run waits: as long as the model answers, or OTHERS_PATIENCE_S where it is other programs that
hold the memory. A run that can never fit, or whose need is not known, does not wait.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from lora_engine.devices import CPU
from lora_engine.errors import EngineError
from lora_engine.files import read_bounded, write_atomically
from lora_engine.free_memory import DeviceMemory, device_memory
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from lora_engine.training.memory.quick_bound import generous_bytes

log = logging.getLogger(__name__)
OTHERS_PATIENCE_S = 600.0
WEIGHED_S = 2.0  # how long an answer is kept: a waiting run is looked at twice a second
MAX_FILE_BYTES = 10_000
GIB = 1 << 30


class MemoryWait(BaseModel):
    """What a waiting run lacks. model: the name of the one that answers; None: other programs
    hold the memory."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    needed_bytes: int
    free_bytes: int
    total_bytes: int
    model: str | None = None

    def words(self) -> str:
        """What the run waits for, in sentences."""
        figures = {
            "needed": f"{self.needed_bytes / GIB:.1f}",
            "free": f"{self.free_bytes / GIB:.1f}",
            "total": f"{self.total_bytes / GIB:.1f}",
        }
        if self.model is not None:
            return tr(
                "Waiting for memory: the run needs about {needed} GiB, and {free} of {total} GiB "
                "are free. The model {model} is answering; the run starts when it has finished.",
                model=self.model,
                **figures,
            )
        return tr(
            "Waiting for memory: the run needs about {needed} GiB, and {free} of {total} GiB are "
            "free. Other programs hold the rest: close some. The run starts as soon as there is "
            "enough, and in any case after {minutes} minutes.",
            minutes=f"{OTHERS_PATIENCE_S / 60:.0f}",
            **figures,
        )


@dataclass(frozen=True)
class _Weighed:
    """The last answer for a device. others_since: when other programs came to be what the run
    waits for."""

    run_id: str
    at: float
    wait: MemoryWait | None = None
    others_since: float | None = None


class MemoryRoom:
    """Weighs the next run of each device.

    expected: the memory that a run should need, None where that cannot be told. let_go: lets an
    idle model of this process go, and gives back the name of one that is in use.
    """

    def __init__(
        self,
        settings: Settings,
        expected: Callable[[RunSpec], int | None],
        let_go: Callable[[], str | None],
        memory: Callable[[str], DeviceMemory | None] = device_memory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._expected = expected
        self._let_go = let_go
        self._memory = memory
        self._clock = clock
        self._weighed: dict[str, _Weighed] = {}  # by device
        self._needs: dict[str, int | None] = {}  # of the run that is next

    def wait_of(self, run_id: str, spec: RunSpec, device: str) -> MemoryWait | None:
        """What the run must wait for on this device; None where it may start."""
        now, before = self._clock(), self._weighed.get(device)
        if before is None or before.run_id != run_id:
            before = _Weighed(run_id, now)
        elif before.wait is not None and now - before.at < WEIGHED_S:
            return before.wait
        there = self._memory(device)
        if there is None or self._is_plenty(spec, there, device):
            return None
        needed = self._needed(run_id, spec)
        if needed is not None and device == CPU:
            needed *= spec.optimization.devices  # a process for each, all in this memory
        wait, since = self._lack(needed, there, device), None
        if wait is not None and wait.model is None:
            since = now if before.others_since is None else before.others_since
            if now - since >= OTHERS_PATIENCE_S:
                log.warning("run %s starts with less free memory than it should need", run_id)
                return None
        self._weighed[device] = _Weighed(run_id, now, wait, since)
        return wait

    def _lack(self, needed: int | None, there: DeviceMemory, device: str) -> MemoryWait | None:
        """What is missing after an idle model was let go; None where it fits or never can."""
        if needed is None or not there.free_bytes < needed <= there.total_bytes:
            return None
        model = self._let_go()
        there = self._memory(device) or there
        if needed <= there.free_bytes:
            return None
        return MemoryWait(
            needed_bytes=needed,
            free_bytes=there.free_bytes,
            total_bytes=there.total_bytes,
            model=model,
        )

    def _is_plenty(self, spec: RunSpec, there: DeviceMemory, device: str) -> bool:
        try:
            bound = generous_bytes(spec, self._settings)
        except (EngineError, OSError):
            return True  # the worker says what is wrong with the base model
        processes = spec.optimization.devices if device == CPU else 1
        return bound is not None and bound * processes <= there.free_bytes

    def _needed(self, run_id: str, spec: RunSpec) -> int | None:
        """What the run should need, asked once."""
        if run_id not in self._needs:
            try:
                found = self._expected(spec)
            except Exception:  # noqa: BLE001 - a guess that fails must not stop the queue: logged
                log.exception("what memory run %s needs is not known", run_id)
                found = None
            self._needs = {run_id: found}  # of earlier runs nobody asks again
        return self._needs[run_id]


def read_wait(directory: RunDirectory) -> MemoryWait | None:
    """What the supervisor found that a queued run waits for; None where it said nothing."""
    try:
        content = read_bounded(directory.waiting_path, MAX_FILE_BYTES)
        return MemoryWait.model_validate_json(content)
    except (OSError, ValueError, ValidationError):
        return None


def say_wait(directory: RunDirectory, wait: MemoryWait) -> None:
    """Write what the run waits for, for every process that shows it. Raises OSError."""
    said = read_wait(directory)
    if said is None or said.words() != wait.words():
        write_atomically(directory.waiting_path, wait.model_dump_json().encode())
