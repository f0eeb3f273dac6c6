"""The runs page when its run is not there: a wrong address, or deleted in another tab."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import gradio as gr  # noqa: TID251
import pytest
from gradio.blocks import Block  # noqa: TID251

from lora_engine.engine import Engine
from lora_engine.run_folder import RunDirectory
from lora_engine.runs import supervisor
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunStore
from lora_engine.spec import spec_from
from pages import runs
from pages.runs import watching
from pages.runs.content import content_of
from pages.runs.selection import Selection
from tests.page_events import answered

# Every gr.Blocks leaves the event loop it made to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")


@pytest.fixture
def engine(settings, monkeypatch) -> Engine:
    """An engine that starts nothing, with the runs `old` and `new`, both finished."""
    monkeypatch.setattr(supervisor, "list_devices", lambda _: [])
    engine, store = Engine(settings), RunStore(settings.database_path)
    for run_id in ("old", "new"):
        spec = spec_from({"name": run_id})
        RunDirectory(settings.runs_dir / run_id).create(spec)
        store.add(run_id, spec)
        store.move(run_id, [RunState.QUEUED], RunState.FINISHED)
        engine.runs.annotate(run_id, f"about {run_id}", [])
    return engine


@pytest.fixture
def page(engine) -> gr.Blocks:
    return runs.build(engine)


class Shown:
    """What a handler changed on the page, by the components' ids, and its problem boxes."""

    def __init__(self, page: gr.Blocks, name: str, given: object) -> None:
        event = event_of(page, name)
        changed = answered(page, event, given)
        self.values = {part.elem_id: value for part, value in changed.items() if part.elem_id}
        texts = [value for part, value in changed.items() if is_problem_box(part)]
        self.problems = [
            json.loads(text)["problem"] for text in texts if text and text != gr.skip()
        ]


class News:
    """What a refresh found, as the browser is told it."""

    def __init__(self, text: str) -> None:
        self.values = json.loads(text)["values"] if text else {}
        problem = self.values.pop("problem", "")
        self.problems = [json.loads(problem)["problem"]] if problem else []


def event_of(page: gr.Blocks, name: str):
    (event,) = [event for event in page.fns.values() if event.api_name == f"page_{name}"]
    return event


def is_problem_box(part: Block) -> bool:
    return "rs-problem-holder" in part.elem_classes


def opened(page: gr.Blocks, **address: str) -> Shown:
    return Shown(page, "open_page", SimpleNamespace(query_params=address))


def refreshed(engine: Engine, run_id: str, asked_to_delete: str = "", last: str = "f") -> News:
    asked = watching.Watched(engine).news(Selection(run_id), last, asked_to_delete)
    return News(asyncio.run(asked))


def test_an_unknown_run_in_the_address_is_named_and_the_newest_is_shown(page):
    shown = opened(page, run="<b>gone</b>")
    (problem,) = shown.problems
    assert "'<b>gone</b>'" in problem
    assert "newest" in problem
    assert "<h2>new " in shown.values["run-heading"]
    assert shown.values["note"] == "about new"
    names = [row["raw"][0] for row in json.loads(shown.values["all-runs"])["rows"]]
    assert names == ["new", "old"]


def test_the_search_that_the_address_fills_in_leaves_the_opening_s_problem_alone(page):
    opening, selecting = (
        {part for part in event_of(page, name).outputs if is_problem_box(part)}
        for name in ("open_page", "select")
    )
    assert selecting
    assert not selecting & opening


def test_a_known_run_in_the_address_is_shown_without_a_word(page):
    shown = opened(page, run="old")
    assert shown.problems == []
    assert "<h2>old " in shown.values["run-heading"]
    assert shown.values["note"] == "about old"


def test_an_unknown_run_where_there_is_none_shows_the_empty_page(page, engine):
    engine.runs.delete("old")
    engine.runs.delete("new")
    shown = opened(page, run="gone")
    (problem,) = shown.problems
    assert "'gone'" in problem
    assert "newest" not in problem
    assert "No run yet" in shown.values["run-heading"]
    assert shown.values["start-example"]["visible"]


def test_a_run_deleted_in_another_tab_is_told_once_and_the_newest_shown(engine):
    shown = refreshed(engine, "old")
    assert "<h2>old " in shown.values["heading"]
    assert "note" not in shown.values  # what the person writes there is theirs
    engine.runs.delete("old")

    shown = refreshed(engine, "old")
    (problem,) = shown.problems
    assert "'old'" in problem
    assert "<h2>new " in shown.values["heading"]
    assert shown.values["note"] == "about new"
    assert shown.values["run_id"] == "new"

    shown = refreshed(engine, "new", last=content_of(engine, Selection("new")).fingerprint)
    assert (set(shown.values) - {"machine"}, shown.problems) == (set(), [])


def test_a_run_deleted_in_this_tab_is_no_news(engine):
    engine.runs.delete("old")
    shown = refreshed(engine, "old", asked_to_delete="old")
    assert shown.problems == []
    assert "<h2>new " in shown.values["heading"]


def test_before_the_page_has_opened_nothing_is_refreshed(engine):
    shown = refreshed(engine, "", last="")
    assert (shown.values, shown.problems) == ({}, [])
