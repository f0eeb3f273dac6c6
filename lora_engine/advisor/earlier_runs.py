"""What earlier runs tell of the next: memory margins, start-up memory, and the speed of its place.

Reads the folders of finished runs. Knows nothing of the run that is asked about but its base model,
its task and where it will train.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lora_engine.calculator.memory import MARGINS
from lora_engine.calculator.memory_request import Margins
from lora_engine.errors import EngineError
from lora_engine.run_folder import RunDirectory, RunResult
from lora_engine.spec import RunSpec
from lora_engine.training.memory import MemoryRecord, read_records, refit_margins

MOST_RUNS = 50  # the newest ones
SPEED_OF = 5  # runs whose median counts
KEPT_S = 20.0  # how long what was read counts as the newest
WORKER_BYTES = 410 << 20  # a worker's own memory before the model, where no run says it
LEAST_STEPS = 5  # a shorter run measures its first step


@dataclass(frozen=True)
class MeasuredRun:
    """A run that finished. seconds_a_row: of training, for each row that was passed."""

    spec: RunSpec
    tokens_per_s: float
    seconds_a_row: float


@dataclass(frozen=True)
class Earlier:
    """What is known of the earlier runs in one folder. records: of memory; runs: of speed."""

    records: Sequence[MemoryRecord]
    runs: Sequence[MeasuredRun]

    def margins(self, device: str) -> Margins:
        return refit_margins(self.records, device, MARGINS)

    def worker_bytes(self, device: str) -> int:
        """A worker's own memory before its model; on a card only tensors count."""
        if device == "cuda":
            return 0
        known = [one.prediction for one in self.records if one.prediction.device == device]
        baselines = [one.baseline_bytes for one in known if one.baseline_bytes]
        return int(statistics.median(baselines)) if baselines else WORKER_BYTES

    def like(self, spec: RunSpec) -> Sequence[MeasuredRun]:
        """The newest runs of this base, this task and this kind of objective, at this place."""
        alike = [
            one
            for one in self.runs
            if one.spec.base_model == spec.base_model
            and one.spec.task == spec.task
            and one.spec.objective.kind == spec.objective.kind
            and _speed_of_place(one.spec) == _speed_of_place(spec)
        ]
        return alike[:SPEED_OF]


@dataclass
class EarlierRuns:
    """Reads a folder of runs, and again after KEPT_S seconds."""

    runs_dir: Path
    _read: Earlier = field(default_factory=lambda: Earlier((), ()))
    _read_at: float = float("-inf")

    def now(self) -> Earlier:
        if time.monotonic() - self._read_at > KEPT_S:
            folders = sorted(self.runs_dir.glob("*"), reverse=True)[:MOST_RUNS]
            measured = [one for one in map(_measured, folders) if one is not None]
            self._read = Earlier(read_records(self.runs_dir, MOST_RUNS), measured)
            self._read_at = time.monotonic()
        return self._read


def _speed_of_place(spec: RunSpec) -> tuple[str, int | None, int]:
    """What decides how fast a place is: on a cluster the cores and cards that are asked for."""
    if spec.launcher == "local":
        return spec.launcher, None, 0
    return spec.launcher, spec.resources.cpus, spec.resources.gpus


def _measured(folder: Path) -> MeasuredRun | None:
    """None where the run has not finished, or cannot be read."""
    directory = RunDirectory(folder)
    try:
        result = directory.result()
        spec = directory.spec() if result is not None else None
    except EngineError:
        return None
    if spec is None or result is None or not _tells_speed(result):
        return None
    rows = result.steps * spec.optimization.batch_size * spec.optimization.gradient_accumulation
    return MeasuredRun(spec, result.tokens_per_s, result.elapsed_s / rows)


def _tells_speed(result: RunResult) -> bool:
    is_long = result.steps >= LEAST_STEPS and result.elapsed_s > 0
    return result.state == "finished" and is_long and result.tokens_per_s > 0
