"""What this machine is doing: processor, memory, the disk with the runs, and each NVIDIA card.

A reading is kept for a second, so that several pages that ask cost no more than one. Knows no run
and no torch; imports psutil when it is first asked.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from lora_engine.nvidia_cards import CardReading, read_cards

KEPT_S = 1.0


@dataclass(frozen=True)
class MachineReading:
    """One moment. processor: the share of all cores that worked since the reading before."""

    processor: float
    cores: int
    memory_used_bytes: int
    memory_total_bytes: int
    disk_free_bytes: int
    disk_total_bytes: int
    cards: tuple[CardReading, ...]


class Machine:
    """Readings of this machine; `folder` is on the disk that is watched."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._kept: MachineReading | None = None
        self._read_at = 0.0

    def reading(self) -> MachineReading:
        """The machine now, or as it was a moment ago."""
        with self._lock:
            now = time.monotonic()
            if self._kept is None or now - self._read_at >= KEPT_S:
                self._kept, self._read_at = self._read(), now
            return self._kept

    def _read(self) -> MachineReading:
        import psutil

        memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(self._folder))
        # Of no time at all there is no share; the first reading waits for a little of it.
        busy = psutil.cpu_percent(interval=0.05 if self._kept is None else None)
        return MachineReading(
            processor=busy / 100,
            cores=os.cpu_count() or 1,
            memory_used_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
            disk_free_bytes=disk.free,
            disk_total_bytes=disk.total,
            cards=read_cards(),
        )
