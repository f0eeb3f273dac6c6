"""What the runs page shows for what is asked of it: the values of its parts, in their order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import gradio as gr

from lora_engine.engine import Engine
from lora_engine.errors import NotFound
from lora_engine.runs.service import RunView
from lora_engine.runs.states import RunState
from pages.runs import controls, curves, run_summary, run_table
from pages.runs.run_figures import STEP, TIME, TOKENS
from pages.shared import layout

LOG_LINES = 200


@dataclass(frozen=True)
class Asked:
    """What the person wants to see: all of the page's inputs, in their order."""

    run_id: str | None
    ticked: str | None
    find: str
    states: Sequence[str]
    columns: Sequence[str]
    axis: str

    def shown(self, engine: Engine) -> str:
        """The run that is shown: the one asked for, else the newest; empty where there is none."""
        return self.run_id or newest(engine)


def asked_in(engine: Engine, request: gr.Request) -> Asked:
    """What the address asks for; its run may be one that there is not."""
    states = layout.state_of(request, "state").split(",")
    axis = layout.state_of(request, "over", STEP)
    return Asked(
        layout.state_of(request, "run") or newest(engine),
        ",".join(view.id for view in others_in(engine, layout.state_of(request, "with"))),
        layout.state_of(request, "find"),
        [state for state in RunState if state in states],
        run_table.DEFAULT,
        axis if axis in (STEP, TOKENS, TIME) else STEP,
    )


def others_in(engine: Engine, ticked: str | None) -> list[RunView]:
    """The ticked runs that there still are, in the order of ticking, as many as are allowed."""
    known = {view.id: view for view in engine.runs.list()}
    ids = dict.fromkeys((ticked or "").split(","))
    return [known[run_id] for run_id in ids if run_id in known][: curves.MOST - 1]


def found_or_newest(engine: Engine, asked: Asked) -> tuple[Asked, NotFound | None]:
    """`asked` as it is, or for the newest run where its own is not there, and why."""
    try:
        if asked.run_id:
            engine.runs.get(asked.run_id)
    except NotFound as missing:
        left = replace(asked, run_id=newest(engine))
        words = f"{missing.problem} The newest run is shown." if left.run_id else missing.problem
        return left, NotFound(words, "The table below has every run there is.")
    return asked, None


def written(engine: Engine, run_id: str | None) -> tuple[str, str]:
    """A run's note and its tags as the person wrote them; empty where there is no run."""
    if not run_id:
        return "", ""
    record = engine.runs.get(run_id).record
    return record.note, ", ".join(record.tags)


def newest(engine: Engine) -> str:
    runs = engine.runs.list()
    return runs[0].id if runs else ""


def mark_of(engine: Engine, asked: Asked) -> str:
    """Changes whenever something on the page would."""
    run_id = asked.shown(engine)
    views = engine.runs.list()
    rows = [
        (view.id, view.record.state, view.newest.seq if view.newest else 0, view.record.note,
         view.record.tags)
        for view in views
    ]  # fmt: skip
    stall = engine.runs.stall(run_id) if run_id else None
    quiet = (stall.is_stopped, int(stall.seconds / 5)) if stall else None
    log = engine.runs.directory(run_id).log_path if run_id else None
    size = log.stat().st_size if log is not None and log.exists() else 0
    state = (run_id, rows, engine.runs.queue(), quiet, size)
    return hashlib.sha256(repr(state).encode()).hexdigest()[:16]


def page(engine: Engine, asked: Asked) -> tuple:
    """Everything the page shows, in the order of its outputs."""
    mark = mark_of(engine, asked)
    views = engine.runs.list()
    run_id = asked.shown(engine)
    found = run_table.matching(views, asked.find or "", asked.states or ())
    ticked = [view.id for view in others_in(engine, asked.ticked)]
    table = run_table.value(found, asked.columns or (), run_id, ticked)
    if not run_id:
        nothing = ("",) * (1 + len(curves.MEASURES))
        hidden = [gr.Button(visible=False)] * controls.ACTIONS
        return (mark, run_summary.empty(), *nothing, "", table, "", "", gr.Button(visible=True),
                *hidden)  # fmt: skip
    view = engine.runs.get(run_id)
    drawn = [view, *(other for other in others_in(engine, asked.ticked) if other.id != run_id)]
    state = view.record.state
    return (
        mark,
        run_summary.heading(engine, view),
        *curves.values(engine, drawn, asked.axis),
        run_summary.facts(engine, view),
        table,
        engine.runs.log_tail(run_id, LOG_LINES),
        engine.runs.shell_command(run_id),
        gr.Button(visible=False),
        *controls.shown_actions(state, engine.runs.queue(), run_id),
    )
