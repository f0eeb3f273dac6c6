"""Long work in a thread, watched from a streaming handler: progress as it goes, stop at any time.

A person who presses Stop ends the turn of their tab, and one who chooses something else starts a
new turn, which ends the one before: the handler then ends, and the work does at its next block. A
handler that Gradio closes does the same by leaving the `with`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Generic, TypeVar

import gradio as gr

from lora_engine.cancellation import StopSignal
from lora_engine.spectrum import Stopped
from lora_engine.spectrum.progress import ReportProgress
from pages.shared.wiring import wire

T = TypeVar("T")
Work = Callable[[ReportProgress, StopSignal], T]
EVERY_S = 0.08
MAX_TABS = 1000
# LAPACK cannot be interrupted: stopped work may go on for a while, so it counts here too.
_AT_ONCE = threading.BoundedSemaphore(2)


class Turn(StopSignal):
    """One opening; set when it is over. by_person: by the Stop button, and not by the next turn:
    then its handler has the last word, which hides the button."""

    by_person = False


class Turns:
    """One opening at a time for each browser tab: taking a turn ends the one before."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, Turn] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, request: gr.Request) -> Turn:
        """A new turn, which ends the one before."""
        tab = request.session_hash or ""
        turn = Turn()
        with self._lock:
            before = self._turns.pop(tab, None)
            self._turns[tab] = turn
            while len(self._turns) > MAX_TABS:
                self._turns.popitem(last=False)
        if before is not None:
            before.set()
        return turn

    def stop(self, request: gr.Request) -> None:
        """End the tab's turn."""
        with self._lock:
            turn = self._turns.pop(request.session_hash or "", None)
        if turn is not None:
            turn.by_person = True
            turn.set()


@dataclass(frozen=True)
class Step:
    """Where the work is: the share done (0 to 1), and what is being done."""

    share: float
    doing: str

    def html(self) -> str:
        """A progress bar with its words, for the value of a gr.HTML."""
        return (
            f'<progress max="1" value="{self.share:.3f}" aria-label="Progress"></progress>'
            f'<p class="rs-doing">{escape(self.doing)}</p>'
        )


class Job(Generic[T]):
    """`with Job(turn, work) as job: for step in job.steps(): yield …; result = job.result()`.

    work(progress, stop) runs in a thread. `steps` and `result` raise Stopped when the turn is
    over, `result` raises what the work raised.
    """

    def __init__(self, turn: Turn, work: Work[T]) -> None:
        self._work = work
        self._turn = turn
        self._done = threading.Event()
        self._step = Step(0.0, "waiting for another matrix to be finished")
        self._value: T | None = None
        self._error: BaseException | None = None
        self._stop = StopSignal(turn)  # set too when nobody waits for the work any more

    def __enter__(self) -> Job[T]:
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def steps(self) -> Iterator[Step]:
        """Where the work is, every 80 ms until it is done; nothing where it is quicker."""
        while not self._done.wait(EVERY_S):
            if self._turn.is_set():
                raise Stopped(self._step.doing)
            yield self._step

    def result(self) -> T:
        if self._turn.is_set():
            raise Stopped(self._step.doing)
        if self._error is not None:
            raise self._error
        return self._value

    def _run(self) -> None:
        try:
            with _AT_ONCE:
                self._value = self._work(self._tell, self._stop)
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            self._error = error
        finally:
            self._done.set()

    def _tell(self, share: float, doing: str) -> None:
        self._step = Step(share, doing)


def wire_stop(turns: Turns, stop: gr.Button, problem: gr.HTML) -> None:
    """The Stop button of a tab ends its turn."""

    def stop_turn(request: gr.Request) -> None:
        turns.stop(request)

    wire([stop.click], stop_turn, problem=problem, queue=False)
