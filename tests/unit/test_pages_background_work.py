"""Long work of a page in a thread: its progress, its end, and who ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace

import gradio as gr  # noqa: TID251
import pytest

from lora_engine.cancellation import Stopped, StopSignal
from lora_engine.errors import EngineError
from pages.shared.background_work import BackgroundWork, ProgressRow, TabTask, TabTasks
from pages.shared.wiring import Update


def test_background_work_reports_its_progress_and_gives_its_result() -> None:
    may_end = threading.Event()

    def work(progress: Callable, stop: object) -> int:
        progress(0.5, "half")
        may_end.wait(10)
        return 7

    with BackgroundWork(TabTask(), work) as running:
        steps = running.progress()
        while next(steps).share != 0.5:
            pass
        may_end.set()
        assert all(step.doing == "half" for step in steps)
        assert running.result() == 7


def test_a_tabs_next_task_ends_the_work_of_the_one_before() -> None:
    tasks, tab = TabTasks(), SimpleNamespace(session_hash="tab")
    first, ended = tasks.start(tab), threading.Event()

    def work(progress: Callable, stop: StopSignal) -> None:
        while not stop.is_set():
            time.sleep(0.01)
        ended.set()

    with BackgroundWork(first, work) as running:
        steps = running.progress()
        next(steps)
        tasks.start(SimpleNamespace(session_hash="another tab"))
        next(steps)
        tasks.start(tab)
        with suppress(Stopped):  # unless the work was quicker to end
            list(steps)
        with pytest.raises(Stopped):
            running.result()
    assert ended.wait(10)


def test_a_question_asked_again_while_it_is_answered_begins_nothing_anew() -> None:
    # Gradio's dropdown reports one choice twice: as an option is clicked, and as it loses focus.
    tasks, tab = TabTasks(), SimpleNamespace(session_hash="tab")
    first = tasks.start_unless_asked(tab, "A beside B")
    assert first is not None

    assert tasks.start_unless_asked(tab, "A beside B") is None
    assert tasks.start_unless_asked(SimpleNamespace(session_hash="2"), "A beside B") is not None
    assert not first.is_set()
    assert tasks.start_unless_asked(tab, "A beside C") is not None
    assert first.is_set()


@pytest.mark.parametrize("ends", ["answered", "failed", "stopped"])
def test_a_question_whose_answer_is_over_is_answered_again(ends: str) -> None:
    tasks, tab = TabTasks(), SimpleNamespace(session_hash="tab")
    row = ProgressRow(gr.HTML(), gr.Button(), gr.HTML())
    task = tasks.start_unless_asked(tab, "question")
    assert task is not None

    def answer() -> Iterator[Update]:
        yield {}
        if ends == "failed":
            raise EngineError("It failed.", "Try again.")

    if ends == "stopped":
        tasks.stop(tab)
    else:
        with suppress(EngineError):
            list(row.until_stopped(task, answer()))

    assert tasks.start_unless_asked(tab, "question") is not None


def test_leaving_the_block_stops_the_work() -> None:
    ended = threading.Event()

    def work(progress: Callable, stop: StopSignal) -> None:
        while not stop.is_set():
            time.sleep(0.01)
        ended.set()

    with BackgroundWork(TabTask(), work):
        pass
    assert ended.wait(10)


def test_what_the_work_raises_is_raised_for_the_result() -> None:
    def work(progress: Callable, stop: object) -> None:
        raise EngineError("The file is empty.", "Give another.")

    with BackgroundWork(TabTask(), work) as running:
        list(running.progress())
        with pytest.raises(EngineError, match="empty"):
            running.result()


def test_only_a_task_that_answers_another_question_is_ended() -> None:
    tasks, tab = TabTasks(), SimpleNamespace(session_hash="tab")
    task = tasks.start(tab, {"source": "a.jsonl"})
    assert tasks.stop_unless_asked(tab, {"source": "a.jsonl"})
    assert not task.is_set()
    another = SimpleNamespace(session_hash="another tab")
    assert not tasks.stop_unless_asked(another, {"source": "b.jsonl"})
    assert not task.is_set()
    assert not tasks.stop_unless_asked(tab, {"source": "b.jsonl"})
    assert task.is_set()
    assert task.stopped_by_person  # so that its row becomes idle
