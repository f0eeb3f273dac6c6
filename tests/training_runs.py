"""A whole run in the test's own process: from a spec to its directory, without a worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from lora_engine.run_folder import RunDirectory, try_lock
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec, spec_from
from lora_engine.training.loop import TrainingProgress
from lora_engine.training.preparation import prepare
from lora_engine.training.together.member import Member
from lora_engine.training.together.train_together import train_together
from lora_engine.training.train_run import train_prepared


def tiny_spec(base: Path, rows: Path, **changes) -> RunSpec:
    """A spec of few steps; `changes` are sections or fields of the top level."""
    document = {
        "base_model": str(base),
        "dataset": {"source": str(rows)},
        "optimization": {"learning_rate": 0.01, "batch_size": 4, "max_steps": 8},
        "report": {"samples": 0},
    }
    for name, value in changes.items():
        old = document.get(name)
        document[name] = {**old, **value} if isinstance(old, dict) else value
    return spec_from(document)


def train_here(
    spec: RunSpec,
    folder: Path,
    settings: Settings,
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[RunDirectory, TrainingProgress]:
    """Train to the end, or until asked to stop."""
    directory = RunDirectory(folder)
    directory.create(spec)
    progress = TrainingProgress()
    train_prepared(prepare(directory, settings), resume, progress, should_stop)
    return directory, progress


def without_looking(spec: RunSpec) -> RunSpec:
    """The same training without the evaluations and samples on the way, which change nothing."""
    steps = spec.optimization.model_copy(update={"eval_every": 1_000_000})
    report = spec.report.model_copy(update={"samples": 0})
    return spec.model_copy(update={"optimization": steps, "report": report})


def losses(directory: RunDirectory) -> dict[int, float]:
    return {row.step: row.loss for row in directory.metrics()}


def train_together_here(
    specs: dict[str, RunSpec],
    folder: Path,
    settings: Settings,
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    stop_worse: bool = False,
) -> dict[str, RunDirectory]:
    """Train all to their ends as a shared worker does; a run's directory by its name."""
    directories = {name: RunDirectory(folder / name) for name in specs}
    members = []
    for name, directory in directories.items():
        directory.create(specs[name])
        lock = try_lock(directory)
        assert lock is not None
        members.append(Member(directory, lock, settings))
    # What it does lasts for the process, and this one has other tests to run.
    with patch("lora_engine.training.together.train_together.skip_unused_imports"):
        train_together(members, resume, should_stop, stop_worse)
    return directories
