"""Curves sent on to TensorBoard, Weights & Biases or trackio, each imported only when chosen.

A tracker that cannot be opened is refused before the first step; one that fails later stops the
run as any other failed write would.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, Protocol

from lora_engine.errors import EngineError
from lora_engine.training.run_directory import MetricsRow, RunDirectory
from lora_engine.training.spec import RunSpec

PROJECT = "rankscope"
SHOWN = (
    "loss", "eval_loss", "learning_rate", "grad_norm", "tokens_per_s", "memory_bytes", "epoch",
)  # fmt: skip


class Tracker(Protocol):
    """Where rows of metrics go besides the run's own file."""

    def log(self, row: MetricsRow) -> None:
        """One step's numbers."""

    def close(self) -> None:
        """Everything is sent."""


def open_trackers(spec: RunSpec, directory: RunDirectory) -> list[Tracker]:
    """The trackers that a spec names. Raises EngineError where one is not installed."""
    kinds = {"tensorboard": TensorBoard, "wandb": Hosted, "trackio": Hosted}
    return [kinds[name](name, spec, directory) for name in spec.report.report_to]


class TensorBoard:
    """Event files in the run's own folder, for `tensorboard --logdir`."""

    def __init__(self, name: str, spec: RunSpec, directory: RunDirectory) -> None:
        _imported(name)
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(directory.path / "tensorboard")
        self._writer.add_text("spec", f"```\n{spec.model_dump_json(indent=1)}\n```")

    def log(self, row: MetricsRow) -> None:
        for name, value in _numbers(row).items():
            self._writer.add_scalar(name, value, row.step)

    def close(self) -> None:
        self._writer.close()


class Hosted:
    """wandb, and trackio, which keeps its interface. A resumed run goes on under the same name."""

    def __init__(self, name: str, spec: RunSpec, directory: RunDirectory) -> None:
        module: Any = _imported(name)
        self._run = module.init(
            project=PROJECT, name=directory.path.name, config=spec.model_dump(mode="json")
        )

    def log(self, row: MetricsRow) -> None:
        self._run.log(_numbers(row), step=row.step)

    def close(self) -> None:
        self._run.finish()


def _numbers(row: MetricsRow) -> dict[str, float]:
    values = {name: getattr(row, name) for name in SHOWN}
    return {name: float(value) for name, value in values.items() if value is not None}


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EngineError(
            f"The run reports to {name}, which cannot be imported here: {error}.",
            f"pip install {name}, or leave it out of report_to.",
        ) from error
