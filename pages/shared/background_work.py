"""Long work in a thread, watched from a streaming handler: progress as it goes, stop at any time.

A browser tab has one task at a time. The Stop button ends it, and so does the next choice, which
starts a task of its own: the handler then ends, and the work does at its next block. A handler
that Gradio closes ends its work the same way.
"""

from __future__ import annotations

import contextvars
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from html import escape
from typing import Generic, Literal, TypeVar, cast

import gradio as gr

from lora_engine.cancellation import Stopped, StopSignal
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum import ReportProgress
from pages.shared.wiring import Update, problem_box, wire

T = TypeVar("T")
Work = Callable[[ReportProgress, StopSignal], T]
POLL_S = 0.08
MAX_TABS = 1000
# False would take the button out of the page, and Gradio, while it draws it again, can miss the
# word to hide it.
HIDDEN: Literal["hidden"] = "hidden"
# LAPACK cannot be interrupted: stopped work may go on for a while, so it counts here too.
_AT_ONCE = threading.BoundedSemaphore(2)


class TabTask(StopSignal):
    """What one browser tab is doing; set when it is to end.

    question: what it answers, where that is known. is_over: answered, failed or stopped.
    stopped_by_person: by the Stop button, and not by the next task. Its handler then has the last
    word, which hides the button.
    """

    def __init__(self, question: object = None) -> None:
        super().__init__()
        self.question = question
        self.is_over = False
        self.stopped_by_person = False


class TabTasks:
    """One task at a time for each browser tab."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[str, TabTask] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, request: gr.Request, question: object = None) -> TabTask:
        """A new task, which ends the tab's one before."""
        task = TabTask(question)
        with self._lock:
            self._replace(request, task)
        return task

    def start_unless_asked(self, request: gr.Request, question: object) -> TabTask | None:
        """A new task; None where the tab's task is answering this very question.

        Gradio's dropdown reports one choice twice, as an option is clicked and as the field is
        left: the second report would begin all work again.
        """
        task = TabTask(question)
        with self._lock:
            now = self._tasks.get(request.session_hash or "")
            if now is not None and now.question == question and not (now.is_over or now.is_set()):
                return None
            self._replace(request, task)
        return task

    def stop_unless_asked(self, request: gr.Request, question: object) -> bool:
        """End the tab's task where it answers another question than this one.

        Whether the tab's task, running or over, answers this very question: a field's change may
        be reported after the question that it led to was asked, and answered.
        """
        with self._lock:
            now = self._tasks.get(request.session_hash or "")
        if now is not None and now.question == question:
            return True
        if now is not None:
            self.stop(request)
        return False

    def stop(self, request: gr.Request) -> None:
        """End the tab's task."""
        with self._lock:
            task = self._tasks.pop(request.session_hash or "", None)
        if task is not None:
            task.stopped_by_person = True
            task.set()

    def _replace(self, request: gr.Request, task: TabTask) -> None:
        """Make it the tab's task, with the lock held."""
        tab = request.session_hash or ""
        before = self._tasks.pop(tab, None)
        self._tasks[tab] = task
        while len(self._tasks) > MAX_TABS:
            self._tasks.popitem(last=False)
        if before is not None:
            before.set()


@dataclass(frozen=True)
class WorkProgress:
    """How far the work is: the share done (0 to 1), and what is being done."""

    share: float
    doing: str

    def html(self) -> str:
        """A progress bar with its words, for the value of a gr.HTML."""
        name = escape(tr("Progress"))
        return (
            f'<progress max="1" value="{self.share:.3f}" aria-label="{name}"></progress>'
            f'<p class="rs-doing">{escape(self.doing)}</p>'
        )


class BackgroundWork(Generic[T]):
    """`work(progress, stop)` in a thread, from entering the `with` block on.

    Leaving the block stops it. `progress` and `result` raise Stopped when the task is over;
    `result` also raises what the work raised.
    """

    def __init__(self, task: TabTask, work: Work[T]) -> None:
        self._work = work
        self._task = task
        self._done = threading.Event()
        self._progress = WorkProgress(0.0, tr("waiting for other work to be finished"))
        self._value: T | None = None
        self._error: BaseException | None = None
        self._stop = StopSignal(task)  # set as well when nobody waits for the result any more

    def __enter__(self) -> BackgroundWork[T]:
        run = contextvars.copy_context().run  # which has the person's language
        threading.Thread(target=run, args=[self._run], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def progress(self) -> Iterator[WorkProgress]:
        """How far the work is, every 80 ms until it is done; nothing where it is quicker."""
        while not self._done.wait(POLL_S):
            self._task.raise_if_set(self._progress.doing)
            yield self._progress

    def result(self) -> T:
        """What the finished work returned."""
        self._task.raise_if_set(self._progress.doing)
        if self._error is not None:
            raise self._error
        return cast(T, self._value)

    def _run(self) -> None:
        try:
            with _AT_ONCE:
                self._value = self._work(self._report, self._stop)
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            self._error = error
        finally:
            self._done.set()

    def _report(self, share: float, doing: str) -> None:
        self._progress = WorkProgress(share, doing)


@dataclass(frozen=True)
class ProgressRow:
    """The row that says how far a tab's work is, with its Stop button and the problem box."""

    progress: gr.HTML
    stop: gr.Button
    problem: gr.HTML

    @property
    def outputs(self) -> list[gr.HTML | gr.Button]:
        """What the updates made here name."""
        return [self.progress, self.stop]

    def working(self, share: float, doing: str) -> Update:
        """The row while something is being done."""
        return {
            self.progress: WorkProgress(share, doing).html(),
            self.stop: gr.Button(visible=True),
        }

    def idle(self, html: str = "") -> Update:
        """The row without its button; `html` stands where the progress was."""
        return {self.progress: html, self.stop: gr.Button(visible=HIDDEN)}

    def watch(self, task: TabTask, work: Work[T]) -> Generator[Update, None, T]:
        """Do the work, yielding its progress; returns its result.

        Raises Stopped when the task is over, and what the work raises.
        """
        with BackgroundWork(task, work) as running:
            for progress in running.progress():
                yield self.working(progress.share, progress.doing)
            return running.result()

    def until_stopped(
        self, task: TabTask, updates: Iterator[Update], if_stopped: Update | None = None
    ) -> Iterator[Update]:
        """`updates`, and an idle row where the person stops them or they fail.

        if_stopped: what else a stop by the person changes. Ends without a word where the tab's
        next task took over, since the row belongs to that one now.
        """
        try:
            yield from updates
        except Stopped:
            if task.stopped_by_person:
                yield {**(if_stopped or {}), **self.idle()}
        except EngineError:
            yield self.idle()
            raise
        finally:
            task.is_over = True


def progress_row(name: str) -> ProgressRow:
    """The row of one tab; `name` begins its element ids."""
    with gr.Row(elem_classes="rs-progress-row"):
        progress = gr.HTML(elem_id=f"{name}-doing", elem_classes="rs-doing-box", js_on_load="")
        stop = gr.Button(
            tr("Stop"),
            variant="stop",
            size="sm",
            visible=HIDDEN,
            scale=0,
            min_width=90,
            elem_id=f"{name}-stop",
        )
    return ProgressRow(progress, stop, problem_box())


def connect_stop(tasks: TabTasks, row: ProgressRow) -> None:
    """Let the row's Stop button end the browser tab's task."""

    def stop_task(request: gr.Request) -> None:
        tasks.stop(request)

    wire([row.stop.click], stop_task, problem=row.problem, queue=False)
