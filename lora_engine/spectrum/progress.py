"""Progress of long work, reported between blocks, where it also stops when asked to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lora_engine.cancellation import NEVER_STOPPED, StopSignal

ReportProgress = Callable[[float, str], None]
"""Called with the share of the work done (0 to 1) and what is being done, in words."""


@dataclass(frozen=True)
class WorkMonitor:
    """Whom to tell and when to stop. `start` and `end` place a part within the whole."""

    progress: ReportProgress | None = None
    stop: StopSignal = NEVER_STOPPED
    start: float = 0.0
    end: float = 1.0

    def step(self, share: float, doing: str) -> None:
        """Report the share done of this part (0 to 1). Raises Stopped when asked to stop."""
        self.stop.raise_if_set(doing)
        if self.progress is not None:
            self.progress(self.start + (self.end - self.start) * share, doing)

    def part(self, start: float, end: float) -> WorkMonitor:
        """The monitor of the part from share `start` to share `end` of this one."""
        span = self.end - self.start
        return WorkMonitor(
            self.progress, self.stop, self.start + span * start, self.start + span * end
        )


SILENT = WorkMonitor()
