"""A run as it is shown: its record in the list, with what its directory says. Reads only."""

from __future__ import annotations

from dataclasses import dataclass

from lora_engine.errors import EngineError, Unreadable
from lora_engine.run_folder import MetricsRow, RunDirectory, RunResult
from lora_engine.runs.launchers import JobInQueue, LocalLauncher, read_queue, read_trouble
from lora_engine.runs.record import RunRecord
from lora_engine.runs.states import ACTIVE, RunState


@dataclass(frozen=True)
class RunView:
    """A run as it is shown: its record, its newest metrics and how it ended.

    problem: what of it cannot be read, such as a spec of a later program; None for a sound run.
    trouble: what its cluster's watcher said last, where the cluster is silent or left no result.
    queued: of a run whose job waits in the queue of its cluster.
    """

    record: RunRecord
    newest: MetricsRow | None
    result: RunResult | None
    problem: str | None = None
    trouble: EngineError | None = None
    queued: JobInQueue | None = None

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def seconds_left(self) -> float | None:
        """From the mean time a step so far; None before the first step or after the last."""
        if self.newest is None or self.record.state is not RunState.RUNNING:
            return None
        steps_left = self.newest.total_steps - self.newest.step
        return self.newest.elapsed_s / self.newest.step * steps_left


def view_run(record: RunRecord, directory: RunDirectory) -> RunView:
    """What is known of a run. A result that cannot be read is its `problem`, and no error."""
    result, problem = None, record.problem
    try:
        result = directory.result()
    except Unreadable as error:
        problem = problem or error.problem
    trouble, queued = _at_cluster(record, directory)
    return RunView(record, directory.last_metrics(), result, problem, trouble, queued)


def _at_cluster(
    record: RunRecord, directory: RunDirectory
) -> tuple[EngineError | None, JobInQueue | None]:
    """What is wrong there, and its job's place in the queue; nothing for a run of this machine, or
    one that is over by its own word."""
    is_there = record.spec is not None and record.spec.launcher != LocalLauncher.name
    if not is_there or record.state not in (*ACTIVE, RunState.INTERRUPTED):
        return None, None
    queue = read_queue(directory) if record.state in ACTIVE else None
    return read_trouble(directory), queue if queue is not None and queue.waits else None
