"""How long work is stopped: a signal that one thread sets and the work checks between its steps.

Every tab of a page has a signal of its own. Training is stopped otherwise: its worker is a
process, which gets a signal of the operating system.
"""

from __future__ import annotations

import threading

from lora_engine.errors import EngineError
from lora_engine.language import tr


class Stopped(EngineError):
    """The person stopped the work; nothing was written."""

    def __init__(self, during: str) -> None:
        super().__init__(
            tr("Stopped while {during}.", during=during), tr("Start again when you like.")
        )


class StopSignal:
    """Set once, from any thread, to stop the work that was given it.

    parent: a signal that stops this work too; setting this one leaves the parent alone.
    """

    def __init__(self, parent: StopSignal | None = None) -> None:
        self._event = threading.Event()
        self._parent = parent

    def set(self) -> None:
        """Ask the work to stop. Asking again changes nothing."""
        self._event.set()

    def is_set(self) -> bool:
        """Whether the work should stop."""
        return self._event.is_set() or (self._parent is not None and self._parent.is_set())

    def raise_if_set(self, during: str) -> None:
        """Raise Stopped if the work should stop; `during` says what it was doing."""
        if self.is_set():
            raise Stopped(during)


class _NeverStopped(StopSignal):
    """The default of work that nobody stops: one object for all, so nobody may set it."""

    def set(self) -> None:
        raise RuntimeError("This work was given no stop signal of its own.")


NEVER_STOPPED = _NeverStopped()
