"""A run's directory: what lies where, and how it is written so that a crash never tears it.

    spec.json  metrics.jsonl  worker.log  checkpoints/  adapter/  result.json  lock

The worker alone writes here; everyone may read at any time. Liveness is the `flock` on `lock`:
it is taken before the worker starts, inherited by it, and the kernel drops it when the last
holder dies, however it dies. This module knows nothing of training or of the list of runs.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lora_engine.files import LineWriter, parse_row, read_rows, read_tail, write_atomically
from lora_engine.run_folder.result import (
    FittingChange,
    MemoryShortage,
    RunProblem,
    RunResult,
)
from lora_engine.spec import RunSpec, read_spec

__all__ = [
    "FittingChange", "MemoryShortage", "MetricsRow", "MetricsWriter", "RunDirectory", "RunLock",
    "RunProblem", "RunResult", "is_alive", "try_lock",
]  # fmt: skip

LOG_TAIL_BYTES = 64_000
METRICS_TAIL_BYTES = 8_192  # about twenty rows
RESERVE_BYTES = 64 * 1024  # a result and the folder's own blocks fit in easily


class MetricsRow(BaseModel):
    """One logged step. Losses are nats a supervised token; memory is the worker's own.

    eval_accuracy, eval_f1: of a classifier, see `classifying.scores_of`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    seq: int
    step: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    tokens_per_s: float
    elapsed_s: float
    memory_bytes: int
    total_steps: int
    eval_loss: float | None = None
    eval_accuracy: float | None = None
    eval_f1: float | None = None


@dataclass(frozen=True)
class RunDirectory:
    """The paths of one run and the reading and writing of its small files."""

    path: Path

    @property
    def spec_path(self) -> Path:
        return self.path / "spec.json"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def log_path(self) -> Path:
        return self.path / "worker.log"

    @property
    def checkpoints_path(self) -> Path:
        return self.path / "checkpoints"

    @property
    def adapter_path(self) -> Path:
        return self.path / "adapter"

    @property
    def result_path(self) -> Path:
        return self.path / "result.json"

    @property
    def reserve_path(self) -> Path:
        return self.path / ".reserve"

    @property
    def lock_path(self) -> Path:
        return self.path / "lock"

    def create(self, spec: RunSpec) -> None:
        """Make the directory with its spec; it must not exist, or be empty."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.spec_path, spec.model_dump_json(indent=1).encode())

    def spec(self) -> RunSpec:
        return read_spec(self.spec_path)

    def result(self) -> RunResult | None:
        """The worker's word, or None where it left none."""
        try:
            return RunResult.model_validate_json(self.result_path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write_result(self, result: RunResult) -> None:
        """Write the worker's last word; on a full disk into the room that was kept for it."""
        content = result.model_dump_json(indent=1).encode()
        try:
            write_atomically(self.result_path, content)
        except OSError:
            self.give_up_reserve()
            write_atomically(self.result_path, content)
        self.give_up_reserve()

    def keep_reserve(self) -> None:
        """Take some room on the disk, so that a run can still say that the disk is full."""
        write_atomically(self.reserve_path, bytes(RESERVE_BYTES))

    def give_up_reserve(self) -> None:
        self.reserve_path.unlink(missing_ok=True)

    def clear_result(self) -> None:
        self.result_path.unlink(missing_ok=True)

    def metrics(self, after_seq: int = 0) -> list[MetricsRow]:
        """Every whole row with a number above `after_seq`; a torn last line is left out.

        A resumed run goes on from its checkpoint and logs the steps after it again: the later
        row of a step replaces the earlier one.
        """
        by_step: dict[int, MetricsRow] = {}
        for row in read_rows(self.metrics_path, MetricsRow):
            by_step.pop(row.step, None)
            by_step[row.step] = row
        return [row for row in by_step.values() if row.seq > after_seq]

    def last_metrics(self) -> MetricsRow | None:
        """The newest whole row, read from the end of the file."""
        lines = read_tail(self.metrics_path, METRICS_TAIL_BYTES).split(b"\n")[:-1]
        rows = (parse_row(line, MetricsRow) for line in reversed(lines))
        return next((row for row in rows if row is not None), None)

    def log_tail(self, lines: int = 200) -> str:
        """The last lines of the worker's log."""
        text = read_tail(self.log_path, LOG_TAIL_BYTES).decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])


@dataclass(frozen=True)
class RunLock:
    """The held lock of a run, as an open file descriptor."""

    descriptor: int

    def close(self) -> None:
        os.close(self.descriptor)


def try_lock(directory: RunDirectory) -> RunLock | None:
    """Take the run's lock, or None where a living worker holds it."""
    descriptor = os.open(directory.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return RunLock(descriptor)


def is_alive(directory: RunDirectory) -> bool:
    """Whether a worker holds the run's lock. Asks without ever holding it exclusively.

    A shared lock is asked for, so that two askers do not take each other for a worker.
    """
    try:
        descriptor = os.open(directory.lock_path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class MetricsWriter:
    """Appends numbered rows; each is one `write`, so a reader sees whole lines but the last."""

    def __init__(self, directory: RunDirectory) -> None:
        last = directory.last_metrics()
        self._next_seq = 1 if last is None else last.seq + 1
        self._lines = LineWriter(directory.metrics_path)

    def write(self, row: MetricsRow) -> None:
        numbered = row.model_copy(update={"seq": self._next_seq})
        self._lines.write(json.dumps(numbered.model_dump(exclude_none=True)).encode())
        self._next_seq += 1

    def close(self) -> None:
        self._lines.close()
