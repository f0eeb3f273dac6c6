"""Progress and stop for long work: told between blocks, acted on between blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lora_engine.errors import EngineError

Progress = Callable[[float, str], None]


class StopSign(Protocol):
    """Like `threading.Event`: set from another thread to end the work."""

    def is_set(self) -> bool: ...


class Stopped(EngineError):
    """The person stopped the work; nothing was written."""

    def __init__(self, during: str) -> None:
        super().__init__(f"Stopped while {during}.", "Start again when you like.")


@dataclass(frozen=True)
class Watch:
    """Where to report and what to obey. `start` and `end` place a part within the whole."""

    progress: Progress | None = None
    should_stop: StopSign | None = None
    start: float = 0.0
    end: float = 1.0

    def step(self, share: float, doing: str) -> None:
        """Report the share done of this part (0 to 1). Raises Stopped when asked to stop."""
        if self.should_stop is not None and self.should_stop.is_set():
            raise Stopped(doing)
        if self.progress is not None:
            self.progress(self.start + (self.end - self.start) * share, doing)

    def part(self, start: float, end: float) -> Watch:
        """The watch for a part that goes from share `start` to share `end` of this one."""
        span = self.end - self.start
        return Watch(
            self.progress, self.should_stop, self.start + span * start, self.start + span * end
        )


QUIET = Watch()
