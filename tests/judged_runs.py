"""Finished runs in a data directory without a worker, and loss tables made up for a judgement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lora_engine.advisor.children import Child, Children, MissingChild
from lora_engine.advisor.curve_signs import CurveSigns
from lora_engine.advisor.loss_tables import LossTable, MeasuredTables
from lora_engine.run_folder import RunResult
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunStore
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec, spec_from
from tests.training_runs import train_here


def result(**changes) -> RunResult:
    figures = {
        "state": "finished",
        "steps": 8,
        "train_loss": 1.0,
        "eval_loss": 1.0,
        "tokens": 100,
        "tokens_per_s": 10.0,
        "peak_memory_bytes": 1_000,
        "elapsed_s": 10.0,
    }
    return RunResult(**{**figures, **changes})


def child(name: str, rank: int, rate: float = 1e-3, seed: int = 0, **figures) -> Child:
    spec = spec_from(
        {"method": {"rank": rank}, "optimization": {"learning_rate": rate}, "seed": seed}
    )
    return Child(
        id=name,
        spec=spec,
        adapter=Path(name),
        parameters=100 * rank,
        bytes=400 * rank,
        result=result(**figures),
        signs=CurveSigns(False, False, ()),
    )


def table(columns: Mapping[str, np.ndarray], base: float = 3.0) -> LossTable:
    losses = np.stack(list(columns.values()), axis=1)
    rows = len(losses)
    return LossTable(tuple(columns), losses, np.full(rows, base), np.ones(rows))


def judged(*children: Child, missing: tuple[MissingChild, ...] = ()) -> Children:
    return Children(children, missing)


def tables(held_out: LossTable, general: LossTable | None = None) -> MeasuredTables:
    return MeasuredTables(held_out, general, ())


def add_run(settings: Settings, name: str, spec: RunSpec, state: RunState) -> RunStore:
    """Put a run into the list, in this state; its directory is the caller's."""
    settings.runs_dir.mkdir(parents=True, exist_ok=True)
    store = RunStore(settings.database_path)
    store.add(name, spec)
    store.move(name, [RunState.QUEUED], state)
    return store


def finish_run(settings: Settings, name: str, spec: RunSpec) -> None:
    """Train here and list it as finished."""
    directory, progress = train_here(spec, settings.runs_dir / name, settings)
    directory.write_result(result(steps=progress.step))
    add_run(settings, name, spec, RunState.FINISHED)
