"""Metrics for TensorBoard, Weights & Biases or trackio, each imported only when chosen.

A tracker that cannot be opened is refused before the first step; one that fails later stops the
run, as any other failed write does. A tracker gets the spec and the metrics and nothing else: no
console output, no code, no figures of the machine. A resumed run keeps its name there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.run_folder import CURVES, METRICS, MetricsRow, RunDirectory
from lora_engine.spec import RunSpec, TrackerName

PROJECT = "rankscope"


class Tracker(Protocol):
    """A place besides the run's own file that gets the metrics."""

    def log(self, row: MetricsRow) -> None:
        """One step's numbers."""

    def close(self) -> None:
        """Send what is still waiting and end."""


def open_trackers(spec: RunSpec, directory: RunDirectory) -> list[Tracker]:
    """The trackers that a spec names. Raises EngineError where one is not installed."""
    kinds: dict[TrackerName, Callable[[RunSpec, RunDirectory], Tracker]] = {
        "tensorboard": TensorBoard,
        "wandb": WeightsAndBiases,
        "trackio": Trackio,
    }
    return [kinds[name](spec, directory) for name in spec.report.report_to]


class TensorBoard:
    """Event files in the run's own folder, for `tensorboard --logdir`."""

    def __init__(self, spec: RunSpec, directory: RunDirectory) -> None:
        _imported("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(directory.path / "tensorboard")
        self._writer.add_text("spec", f"```\n{spec.model_dump_json(indent=1)}\n```")

    def log(self, row: MetricsRow) -> None:
        for name, value in _numbers(row).items():
            self._writer.add_scalar(name, value, row.step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run on the server of `wandb login`; with WANDB_MODE=offline, in the run's folder."""

    def __init__(self, spec: RunSpec, directory: RunDirectory) -> None:
        wandb: Any = _imported("wandb")
        name = directory.path.name
        try:
            self._run = wandb.init(
                project=PROJECT,
                id=name,
                name=name,
                resume="allow",
                dir=directory.path,
                config=spec.model_dump(mode="json"),
                settings=wandb.Settings(
                    console="off", disable_git=True, save_code=False, x_disable_stats=True
                ),
            )
        except wandb.Error as error:
            raise EngineError(
                tr("Weights & Biases cannot be reported to: {error}", error=error),
                tr(
                    "Run `wandb login` once, or start the dashboard with WANDB_MODE=offline, "
                    "which keeps the curves in the run's folder for `wandb sync`."
                ),
            ) from error

    def log(self, row: MetricsRow) -> None:
        self._run.log(_numbers(row), step=row.step)

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """Its local database under TRACKIO_DIR, for `trackio show`."""

    def __init__(self, spec: RunSpec, directory: RunDirectory) -> None:
        trackio: Any = _imported("trackio")
        self._run = trackio.init(
            project=PROJECT,
            name=directory.path.name,
            resume="allow",
            config=spec.model_dump(mode="json"),
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    def log(self, row: MetricsRow) -> None:
        self._run.log(_numbers(row), step=row.step)

    def close(self) -> None:
        self._run.finish()


def _numbers(row: MetricsRow) -> dict[str, float]:
    """What is drawn over the steps, and the epoch; without what this row does not have."""
    values = {metric.name: metric.of(row) for metric in (*CURVES, METRICS["epoch"])}
    return {name: float(value) for name, value in values.items() if value is not None}


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EngineError(
            tr(
                "The run reports to {name}, which cannot be imported here: {error}.",
                name=name,
                error=error,
            ),
            tr("pip install {name}, or leave it out of report_to.", name=name),
        ) from error
