"""What the runs page shows for a selection, by the names of its parts; knows no component.

The parts come in groups that change together. A page that says what it has of each group gets
only the groups that have changed since: what is not sent is not drawn, and a page that watches a
run takes little of the processor that the run needs. `Look` is one look at all of it, whose groups
are made when they are asked for.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lora_engine.engine import Engine
from lora_engine.runs import RunState, RunView
from pages.runs import (
    controls,
    curves,
    machine_strip,
    reports,
    run_details,
    run_list,
    run_summary,
    run_table,
)
from pages.runs.selection import Selection, existing_runs

AT = "at"  # in a fingerprint, beside the groups
LOG_LINES = 200
TABLE_S = 10

Parts = Mapping[str, str | bool]
"""Values by the parts' names: a text, or whether the part is there."""


@dataclass(frozen=True)
class Scene:
    """A selection with the runs that it is about. view: the one shown, None where there is none."""

    engine: Engine
    selection: Selection
    views: Sequence[RunView]
    view: RunView | None
    others: Sequence[RunView]

    @property
    def run_id(self) -> str:
        return self.view.id if self.view else ""

    @cached_property
    def found(self) -> list[RunView]:
        """The runs that the search finds."""
        return run_table.matching(self.views, self.selection.find, self.selection.states)

    @cached_property
    def queue(self) -> list[str]:
        return self.engine.runs.queue()


@dataclass(frozen=True)
class Content:
    """The parts that are new. fingerprint: says of each group what the page then has."""

    run_id: str
    fingerprint: str
    parts: dict[str, str | bool] = field(default_factory=dict)


class Look:
    """One look at what a selection shows.

    at: when, in milliseconds of the machine's own clock. digests: by group, of what it depends on.
    """

    def __init__(self, engine: Engine, selection: Selection) -> None:
        self.at = int(time.monotonic() * 1000)
        self._scene = _scene(engine, selection)
        self.digests = {name: _digest(key(self._scene)) for name, (key, _) in GROUPS.items()}

    @property
    def run_id(self) -> str:
        return self._scene.run_id

    @cached_property
    def fingerprint(self) -> str:
        return json.dumps({AT: self.at, **self.digests})

    def changed(self, known: str) -> list[str]:
        """The groups that a page with the fingerprint `known` does not have as they are now."""
        had = _read(known)
        return [name for name, digest in self.digests.items() if had.get(name) != digest]

    def parts(self, group: str) -> Parts:
        return GROUPS[group][1](self._scene)


def content_of(engine: Engine, selection: Selection, known: str = "") -> Content:
    """What the page shows for a selection. known: the fingerprint of what it has already."""
    look = Look(engine, selection)
    parts: dict[str, str | bool] = {}
    for group in look.changed(known):
        parts |= look.parts(group)
    return Content(look.run_id, look.fingerprint, parts)


def seen_at(known: str) -> int:
    """When the look was taken that a page shows; 0 for what is no fingerprint of ours."""
    at = _read(known).get(AT)
    return at if isinstance(at, int) else 0


def _scene(engine: Engine, selection: Selection) -> Scene:
    views = engine.runs.list()
    wanted = selection.run_id or (views[0].id if views else "")
    view = engine.runs.get(wanted) if wanted else None
    others = [one for one in existing_runs(views, selection.others) if one.id != wanted]
    return Scene(engine, selection, views, view, others)


def _list_key(scene: Scene) -> object:
    chosen = scene.selection
    rows = [_row(view) for view in scene.views]
    others = [view.id for view in scene.others]
    return rows, scene.run_id, others, chosen.find, chosen.states


def _list_parts(scene: Scene) -> Parts:
    others = [view.id for view in scene.others]
    return {"runs": run_list.value(scene.found, scene.run_id, others)}


def _table_key(scene: Scene) -> object:
    """Beneath the list, which is live, the table need not follow every step."""
    chosen = scene.selection
    rows = [
        (view.id, view.record.state, view.record.note, view.record.tags) for view in scene.views
    ]
    is_going = any(view.record.state is RunState.RUNNING for view in scene.views)
    now = int(time.time() / TABLE_S) if is_going else None
    return rows, now, chosen.find, chosen.states, chosen.columns


def _table_parts(scene: Scene) -> Parts:
    return {"table": run_table.value(scene.found, scene.selection.columns)}


def _run_key(scene: Scene) -> object:
    if scene.view is None:
        return None
    stall = scene.engine.runs.stall(scene.run_id)
    quiet = (stall.is_stopped, int(stall.seconds / 5)) if stall else None
    drawn = [_row(view) for view in (scene.view, *scene.others)]
    waits_for = scene.engine.runs.waits_for(scene.run_id)
    return drawn, scene.selection.axis, scene.queue, quiet, waits_for


def _run_parts(scene: Scene) -> Parts:
    engine, view = scene.engine, scene.view
    if view is None:
        nothing: Parts = {
            **dict.fromkeys(curves.KEYS, ""),
            **dict.fromkeys(controls.ACTIONS, False),
        }
        return {**nothing, "heading": run_summary.empty(), "facts": "", "start": True}
    places = engine.runs.places_to_go_on(view.id)
    actions = controls.possible_actions(view.record.state, scene.queue, view.id, bool(places))
    return {
        "heading": run_summary.heading(engine, view),
        "facts": run_summary.facts(engine, view),
        "start": False,
        **{name: name in actions for name in controls.ACTIONS},
        **curves.values(engine, [view, *scene.others], scene.selection.axis),
    }


def _reports_key(scene: Scene) -> object:
    return scene.run_id and (scene.run_id, reports.key_of(scene.engine, scene.run_id))


def _reports_parts(scene: Scene) -> Parts:
    return reports.parts_of(scene.engine, scene.view) if scene.view else {}


def _about_key(scene: Scene) -> object:
    if scene.view is None:
        return None
    names = [file.name for file in scene.engine.runs.files(scene.run_id)]
    return scene.run_id, scene.view.record.state, names


def _about_parts(scene: Scene) -> Parts:
    engine, view = scene.engine, scene.view
    if view is None:
        return {}
    return {
        "spec": run_details.spec_html(view),
        "command": engine.runs.shell_command(view.id),
        "folder": run_details.folder_html(str(engine.runs.directory(view.id).path)),
        "files": run_details.files_value(engine.runs.files(view.id)),
    }


def _log_key(scene: Scene) -> object:
    if scene.view is None:
        return None
    log = scene.engine.runs.directory(scene.run_id).log_path
    return scene.run_id, log.stat().st_size if log.exists() else 0


def _log_parts(scene: Scene) -> Parts:
    return {"log": scene.engine.runs.log_tail(scene.run_id, LOG_LINES)} if scene.view else {}


def _machine_parts(scene: Scene) -> Parts:
    return {"machine": machine_strip.html(scene.engine.machine.reading())}


GROUPS: Mapping[str, tuple[Callable[[Scene], object], Callable[[Scene], Parts]]] = {
    "list": (_list_key, _list_parts),
    "table": (_table_key, _table_parts),
    "run": (_run_key, _run_parts),
    "reports": (_reports_key, _reports_parts),
    "about": (_about_key, _about_parts),
    "log": (_log_key, _log_parts),
    "machine": (_machine_parts, _machine_parts),
}
"""By name: what a group depends on, and its parts."""


def _row(view: RunView) -> tuple[object, ...]:
    """What of a run changes while it is watched."""
    record = view.record
    newest = view.newest.seq if view.newest else 0
    there = (str(view.trouble or ""), view.queued)
    return view.id, record.state, newest, view.result is not None, there, record.note, record.tags


def _digest(key: object) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()[:12]


def _read(known: str) -> dict[str, Any]:
    try:
        found = json.loads(known)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
