"""A run as a row of the list says it: its record. Knows neither the list nor its queries."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from pydantic import ValidationError

from lora_engine.access import LOCAL
from lora_engine.annotations import stored_tags
from lora_engine.errors import Unreadable
from lora_engine.language import tr
from lora_engine.runs.states import RunState
from lora_engine.spec import RunSpec


@dataclass(frozen=True)
class RunRecord:
    """A row of the list. Times are in seconds since the epoch.

    spec: None where this program cannot read it, such as one with a later program's fields;
    `problem` then says why. sweep: the id of the sweep that the run belongs to. owner: the name of
    the person who submitted it.
    """

    number: int
    id: str
    name: str
    state: RunState
    spec: RunSpec | None
    resume: bool
    created_at: float
    started_at: float | None
    ended_at: float | None
    device: str | None
    note: str
    tags: tuple[str, ...]
    sweep: str | None = None
    problem: str | None = None
    owner: str = LOCAL.name

    def readable_spec(self) -> RunSpec:
        """The spec. Raises Unreadable."""
        if self.spec is None:
            raise Unreadable(
                tr("Run {id}: {problem}", id=self.id, problem=self.problem),
                tr("Use the Rankscope that made the run, or a later one."),
            )
        return self.spec


def record_of(row: sqlite3.Row) -> RunRecord:
    """The record of a row. What of it cannot be read is its `problem`, and no error.

    A run in a state that only a later program knows is shown as failed; its row stays as it is.
    """
    problems = []
    spec, tags = None, stored_tags(row["tags"])
    try:
        spec = RunSpec.model_validate_json(row["spec"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "spec"
        problems.append(
            tr("Its spec cannot be read ({where}: {why}).", where=where, why=first["msg"])
        )
    times = {name: row[name] for name in ("created_at", "started_at", "ended_at")}
    wrong = [name for name, value in times.items() if not isinstance(value, float | None)]
    wrong += [] if tags is not None else ["tags"]
    wrong += [] if row["state"] in set(RunState) else ["state"]
    problems += [
        tr("Its {field} in the list cannot be read: {found}.", field=name, found=_shown(row[name]))
        for name in wrong
    ]
    return RunRecord(
        number=row["number"],
        id=row["id"],
        name=row["name"],
        state=RunState.FAILED if "state" in wrong else RunState(row["state"]),
        spec=spec,
        resume=bool(row["resume"]),
        created_at=0.0 if "created_at" in wrong else times["created_at"],
        started_at=None if "started_at" in wrong else times["started_at"],
        ended_at=None if "ended_at" in wrong else times["ended_at"],
        device=row["device"],
        note=row["note"],
        tags=tags or (),
        sweep=row["sweep"],
        problem=" ".join(problems) or None,
        owner=row["owner"],
    )


def _shown(value: object) -> str:
    return f"{str(value)[:40]!r}"
