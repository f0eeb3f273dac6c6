"""The runs page when its run is not there: a wrong address, or deleted in another tab."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gradio as gr  # noqa: TID251
import pytest

from lora_engine.engine import Engine
from lora_engine.run_folder import RunDirectory
from lora_engine.runs import supervisor
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunStore
from lora_engine.spec import spec_from
from pages import runs
from pages.runs import run_table, view

# Every gr.Blocks leaves the event loop it made to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")

SKIPPED = gr.skip()
NOTHING_MORE = ("", (), run_table.DEFAULT, "steps")  # find, states, columns, axis


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


def handler(page: gr.Blocks, name: str) -> tuple[Callable, list]:
    """The function that Gradio calls for a handler, and the components it fills."""
    (event,) = [event for event in page.fns.values() if event.api_name == f"page_{name}"]
    return event.fn, event.outputs


def opened(page: gr.Blocks, **address: str) -> tuple[dict, list[Any]]:
    """What opening the page at an address shows, by the components' ids, and all of it in order."""
    function, outputs = handler(page, "open_page")
    values = list(function(SimpleNamespace(query_params=address)))
    return by_id(outputs, values), values


def ticked(page: gr.Blocks, run_id: str, doomed: str = "", mark: str = "m") -> tuple[dict, list]:
    function, outputs = handler(page, "tick")
    values = list(function(mark, doomed, run_id, "", *NOTHING_MORE))
    return by_id(outputs, values), values


def by_id(outputs: list, values: list) -> dict[str, Any]:
    assert len(outputs) == len(values)
    return {
        output.elem_id: value for output, value in zip(outputs, values, strict=True)
        if output.elem_id
    }  # fmt: skip


def problems(values: list) -> list[str]:
    """What the problem boxes are given, of all the values of an event."""
    texts = [value for value in values if isinstance(value, str) and '"problem"' in value]
    return [json.loads(text)["problem"] for text in texts]


def test_an_unknown_run_in_the_address_is_named_and_the_newest_is_shown(page):
    shown, values = opened(page, run="<b>gone</b>")
    assert problems(values) == ["There is no run '<b>gone</b>'. The newest run is shown."]
    assert "<h2>new " in shown["run-heading"]
    assert shown["note"] == "about new"
    names = [row["raw"][0] for row in json.loads(shown["all-runs"])["rows"]]
    assert names == ["new", "old"]


def test_the_search_that_the_address_fills_in_leaves_the_opening_s_problem_alone(page):
    _, opening = handler(page, "open_page")
    _, searching = handler(page, "show")
    boxes = {box for box in searching if "rs-problem-holder" in box.elem_classes}
    assert boxes
    assert not boxes & set(opening)


def test_a_known_run_in_the_address_is_shown_without_a_word(page):
    shown, values = opened(page, run="old")
    assert problems(values) == []
    assert "<h2>old " in shown["run-heading"]
    assert shown["note"] == "about old"


def test_an_unknown_run_where_there_is_none_shows_the_empty_page(page, engine):
    engine.runs.delete("old")
    engine.runs.delete("new")
    shown, values = opened(page, run="gone")
    assert problems(values) == ["There is no run 'gone'."]
    assert "No run yet" in shown["run-heading"]


def test_a_run_deleted_in_another_tab_is_told_once_and_the_newest_shown(page, engine):
    shown, values = ticked(page, "old")
    assert "<h2>old " in shown["run-heading"]
    assert shown["note"] == SKIPPED  # what the person writes there is theirs
    engine.runs.delete("old")
    new = view.Asked("new", "", *NOTHING_MORE)

    shown, values = ticked(page, "old")
    assert problems(values) == ["There is no run 'old'. The newest run is shown."]
    assert "<h2>new " in shown["run-heading"]
    assert shown["note"] == "about new"
    assert values[0] == "new"  # is asked for from now on

    _, values = ticked(page, "new", mark=view.mark_of(engine, new))
    assert values == [SKIPPED] * (len(values) - 1) + [""]


def test_a_run_deleted_in_this_tab_is_no_news(page, engine):
    engine.runs.delete("old")
    shown, values = ticked(page, "old", doomed="old")
    assert problems(values) == []
    assert "<h2>new " in shown["run-heading"]
