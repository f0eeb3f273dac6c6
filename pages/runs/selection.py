"""What the person chose to see on the runs page, and the fields and the address it stands in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.engine import Engine
from lora_engine.errors import NotFound
from lora_engine.language import tr
from lora_engine.runs import RunState, RunView
from pages.runs import controls, run_table
from pages.runs.curves import MOST_RUNS
from pages.runs.run_figures import STEP, TIME, TOKENS
from pages.shared import layout
from pages.shared.static_files import event_js
from pages.shared.wiring import Update

# In the address beside `run`; what stands there as the page opens is left out.
CHOICES = (
    {"name": "with", "opening": ""},
    {"name": "find", "opening": ""},
    {"name": "state", "opening": ""},
    {"name": "over", "opening": STEP},
)


@dataclass(frozen=True)
class Selection:
    """The run that is shown, those drawn with it, and the rows and columns of the table.

    run_id: empty for the newest. others: ids of ticked runs, which may be gone.
    axis: what the curves are drawn over.
    """

    run_id: str = ""
    others: tuple[str, ...] = ()
    find: str = ""
    states: Sequence[str] = ()
    columns: Sequence[str] = run_table.DEFAULT
    axis: str = STEP

    def shown_run(self, engine: Engine) -> str:
        """The id of the selected run, else of the newest; empty where there is no run."""
        return self.run_id or newest_run(engine)


@dataclass(frozen=True)
class SelectionFields:
    """The components that hold a selection; `run_id` and `others` are hidden."""

    run_id: gr.Textbox
    others: gr.Textbox
    search: controls.Search
    axis: gr.Radio

    @property
    def ordered(self) -> list[Component]:
        search = self.search
        return [self.run_id, self.others, search.find, search.states, search.columns, self.axis]

    @property
    def inputs(self) -> set[Component]:
        return set(self.ordered)

    def read(self, values: Mapping[Component, Any]) -> Selection:
        """The selection in the values of `inputs`."""
        return Selection(
            run_id=values[self.run_id] or "",
            others=tuple((values[self.others] or "").split(",")),
            find=values[self.search.find] or "",
            states=values[self.search.states] or (),
            columns=values[self.search.columns] or (),
            axis=values[self.axis] or STEP,
        )

    def filled(self, selection: Selection) -> Update:
        """The fields as an address fills them; no address names columns."""
        return {
            self.run_id: selection.run_id,
            self.others: ",".join(selection.others),
            self.search.find: selection.find,
            self.search.states: list(selection.states),
            self.axis: selection.axis,
        }

    @property
    def remember(self) -> dict[str, Any]:
        """For `.then(**…)`: writes the selection into the address."""
        return _written([{"name": "run", "opening": ""}, *CHOICES], [self.run_id, *self._choices])

    @property
    def remember_choices(self) -> dict[str, Any]:
        """As `remember`, without the run: a choice in the list is in the address before its
        answer comes, and by then there may be a newer one.
        """
        return _written(CHOICES, self._choices)

    @property
    def _choices(self) -> list[Component]:
        return [self.others, self.search.find, self.search.states, self.axis]


def _written(fields: Sequence[Mapping[str, str]], inputs: list[Component]) -> dict[str, Any]:
    js = event_js("shared/address.js", "rememberFields", list(fields))
    return {"fn": None, "inputs": inputs, "js": js, "api_visibility": "private"}


def selection_in_address(engine: Engine, request: gr.Request) -> Selection:
    """The selection that the address names; its run may be one that there is not."""
    states = layout.state_of(request, "state").split(",")
    axis = layout.state_of(request, "over", STEP)
    others = existing_runs(engine.runs.list(), layout.state_of(request, "with").split(","))
    return Selection(
        run_id=layout.state_of(request, "run") or newest_run(engine),
        others=tuple(view.id for view in others),
        find=layout.state_of(request, "find"),
        states=[state for state in RunState if state in states],
        axis=axis if axis in (STEP, TOKENS, TIME) else STEP,
    )


def existing_runs(views: Sequence[RunView], run_ids: Sequence[str]) -> list[RunView]:
    """Those of the ticked runs that are among `views`, in order, as many as may be drawn."""
    known = {view.id: view for view in views}
    found = [known[run_id] for run_id in dict.fromkeys(run_ids) if run_id in known]
    return found[: MOST_RUNS - 1]


def with_existing_run(engine: Engine, selection: Selection) -> tuple[Selection, NotFound | None]:
    """The selection itself, or the newest run in place of one that does not exist, and why."""
    try:
        if selection.run_id:
            engine.runs.get(selection.run_id)
    except NotFound as missing:
        left = replace(selection, run_id=newest_run(engine))
        if not left.run_id:
            return left, NotFound(missing.problem, tr("There is no run yet."))
        words = tr("{problem} The newest run is shown.", problem=missing.problem)
        return left, NotFound(words, tr("The list has every run there is."))
    return selection, None


def newest_run(engine: Engine) -> str:
    """The id of the newest run; empty where there is none."""
    runs = engine.runs.list()
    return runs[0].id if runs else ""


def note_of(engine: Engine, run_id: str) -> tuple[str, str]:
    """The note of a run and its tags; empty where there is no run."""
    if not run_id:
        return "", ""
    record = engine.runs.get(run_id).record
    return record.note, ", ".join(record.tags)
