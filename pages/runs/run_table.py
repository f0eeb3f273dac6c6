"""The table of all runs: every field of the spec and every result as a column to choose.

Finding is done here, sorting in the browser; the download has the rows and columns that are shown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel

from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from lora_engine.run_folder import METRICS
from lora_engine.runs import RunView, state_name
from lora_engine.spec import RunSpec
from pages import RUNS
from pages.shared import layout
from pages.shared.live import Cell, Column, table_value

DEFAULT = (
    "state", "step", "loss", "eval_loss", "method.rank", "optimization.learning_rate", "elapsed_s",
    "tags", "id",
)  # fmt: skip


@dataclass(frozen=True)
class RunColumn:
    """A column and what stands in it for a run."""

    column: Column
    cell: Callable[[RunView], Cell]


@cache
def columns() -> dict[str, RunColumn]:
    """Every column by its key: results first, then the fields of the spec by their path."""
    return {**_result_columns(), **_spec_columns(RunSpec, ())}


def choices() -> list[tuple[str, str]]:
    """(label, key) of each column but the run's name, which is always there."""
    return [(tr(found.column.label), key) for key, found in columns().items()]


def value(views: Sequence[RunView], keys: Sequence[str]) -> str:
    """The live table's value for these runs."""
    shown = [columns()[key] for key in keys if key in columns()]
    rows = [(view.record.name, *(found.cell(view) for found in shown)) for view in views]
    return table_value(
        (Column(translatable("Run")), *(found.column for found in shown)),
        rows,
        links=[layout.link(RUNS, run=view.id) for view in views],
        empty=tr("No run matches."),
    )


def matching(views: Sequence[RunView], words: str, states: Sequence[str]) -> list[RunView]:
    """The runs in one of `states` (any where empty) that hold every word in name, note, tags,
    id, base model or dataset, in capitals or not."""
    wanted = words.casefold().split()
    return [
        view
        for view in views
        if (not states or view.record.state in states)
        and all(word in _text(view) for word in wanted)
    ]


def runs_endpoint(engine: Engine) -> Callable[[], list[dict]]:
    """The function behind the API's `/runs`."""

    def runs() -> list[dict]:
        """Every run, newest first: id, name, state, step, total_steps, loss, eval_loss."""
        return [
            {
                "id": view.id,
                "name": view.record.name,
                "state": str(view.record.state),
                "step": view.newest.step if view.newest else 0,
                "total_steps": view.newest.total_steps if view.newest else None,
                "loss": view.newest.loss if view.newest else None,
                "eval_loss": view.result.eval_loss if view.result else None,
            }
            for view in engine.runs.list()
        ]

    return runs


def _text(view: RunView) -> str:
    record = view.record
    parts = [record.name, record.note, *record.tags, record.id]
    if record.spec is not None:
        parts += [record.spec.base_model, record.spec.dataset.source]
    return "\n".join(parts).casefold()


def _result_columns() -> dict[str, RunColumn]:
    def of_newest(name: str) -> Callable[[RunView], Cell]:
        return lambda view: getattr(view.newest, name) if view.newest else None

    def of_result(name: str) -> Callable[[RunView], Cell]:
        return lambda view: getattr(view.result, name, None) if view.result else None

    def number(label: str, cell: Callable, show: Callable = layout.number) -> RunColumn:
        return RunColumn(Column(label, show, numeric=True), cell)

    return {
        "state": RunColumn(
            Column(translatable("State")), lambda view: state_name(view.record.state)
        ),
        "step": number(translatable("Steps"), of_newest("step"), layout.count),
        "loss": number(translatable("Loss"), of_newest("loss")),
        **{
            metric.name: number(metric.label, of_result(metric.name))
            for metric in METRICS.values()
            if metric.is_evaluated
        },
        "best_eval_loss": number(translatable("Best evaluation loss"), of_result("best_eval_loss")),
        "train_loss": number(translatable("Mean training loss"), of_result("train_loss")),
        "tokens": number(translatable("Tokens read"), of_newest("tokens"), layout.count),
        "tokens_per_s": number(translatable("Tokens/s"), of_newest("tokens_per_s")),
        "elapsed_s": number(translatable("Seconds"), of_newest("elapsed_s")),
        "peak_memory_bytes": number(
            translatable("Peak memory"), of_result("peak_memory_bytes"), layout.byte_size
        ),
        "device": RunColumn(Column(translatable("Device")), lambda view: view.record.device),
        "created_at": RunColumn(
            Column(translatable("Made")), lambda view: moment(view.record.created_at)
        ),
        "tags": RunColumn(
            Column(translatable("Tags")), lambda view: ", ".join(view.record.tags) or None
        ),
        "note": RunColumn(
            Column(translatable("Note"), _first_line), lambda view: view.record.note or None
        ),
        "id": RunColumn(Column(translatable("Id")), lambda view: view.id),
    }


def _spec_columns(model: type[BaseModel], path: tuple[str, ...]) -> dict[str, RunColumn]:
    found: dict[str, RunColumn] = {}
    for name, info in model.model_fields.items():
        section = _section(info.annotation)
        here = (*path, name)
        if section is not None:
            found |= _spec_columns(section, here)
        elif here != ("name",):
            found[".".join(here)] = _spec_column(info.title or name, here, info.annotation)
    return found


def _spec_column(label: str, path: tuple[str, ...], annotation: Any) -> RunColumn:
    numeric = annotation in (int, float, int | None, float | None)

    def cell(view: RunView) -> Cell:
        value: Any = view.record.spec
        for name in path:
            value = getattr(value, name, None)
        if isinstance(value, list | tuple):
            return ", ".join(map(str, value)) or None
        if isinstance(value, dict):
            return json.dumps(value) if value else None
        return value

    return RunColumn(Column(label, _spec_number if numeric else str, numeric), cell)


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model of a section, whether it may be left out or not."""
    for member in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(member, type) and issubclass(member, BaseModel):
            return member
    return None


def _spec_number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _first_line(note: str) -> str:
    line = note.splitlines()[0]
    return line if len(line) <= 60 else line[:59] + "…"
