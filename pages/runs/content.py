"""What the runs page shows for a selection, by name; knows no component."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from lora_engine.engine import Engine
from pages.runs import controls, curves, run_summary, run_table
from pages.runs.selection import Selection, existing_runs

LOG_LINES = 200


@dataclass(frozen=True)
class Content:
    """The values of the page's parts.

    fingerprint: changes whenever another part would. plots: JSON by the measure's key, "loss"
    first. actions: the names of the buttons that can do something; `start` offers the example.
    """

    fingerprint: str
    heading: str
    table: str
    plots: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(curves.KEYS, ""))
    facts: str = ""
    log: str = ""
    command: str = ""
    actions: frozenset[str] = frozenset()
    offers_example: bool = False


def content_of(engine: Engine, selection: Selection) -> Content:
    """Everything that the page shows for a selection."""
    fingerprint = fingerprint_of(engine, selection)
    run_id = selection.shown_run(engine)
    others = existing_runs(engine, selection.others)
    found = run_table.matching(engine.runs.list(), selection.find, selection.states)
    table = run_table.value(found, selection.columns, run_id, [view.id for view in others])
    if not run_id:
        return Content(fingerprint, run_summary.empty(), table, offers_example=True)
    view = engine.runs.get(run_id)
    drawn = [view, *(other for other in others if other.id != run_id)]
    return Content(
        fingerprint=fingerprint,
        heading=run_summary.heading(engine, view),
        table=table,
        plots=curves.values(engine, drawn, selection.axis),
        facts=run_summary.facts(engine, view),
        log=engine.runs.log_tail(run_id, LOG_LINES),
        command=engine.runs.shell_command(run_id),
        actions=controls.possible_actions(view.record.state, engine.runs.queue(), run_id),
    )


def fingerprint_of(engine: Engine, selection: Selection) -> str:
    """Changes whenever something on the page would; cheaper than the content itself."""
    run_id = selection.shown_run(engine)
    rows = [
        (
            view.id,
            view.record.state,
            view.newest.seq if view.newest else 0,
            view.record.note,
            view.record.tags,
        )
        for view in engine.runs.list()
    ]
    stall = engine.runs.stall(run_id) if run_id else None
    quiet = (stall.is_stopped, int(stall.seconds / 5)) if stall else None
    log = engine.runs.directory(run_id).log_path if run_id else None
    log_bytes = log.stat().st_size if log is not None and log.exists() else 0
    state = (run_id, rows, engine.runs.queue(), quiet, log_bytes)
    return hashlib.sha256(repr(state).encode()).hexdigest()[:16]
