"""A run as it is shown: its record in the list, with what its directory says. Reads only."""

from __future__ import annotations

from dataclasses import dataclass

from lora_engine.errors import Unreadable
from lora_engine.run_folder import MetricsRow, RunDirectory, RunResult
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunRecord


@dataclass(frozen=True)
class RunView:
    """A run as it is shown: its record, its newest metrics and how it ended.

    problem: what of it cannot be read, such as a spec of a later program; None for a sound run.
    """

    record: RunRecord
    newest: MetricsRow | None
    result: RunResult | None
    problem: str | None = None

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
    return RunView(record, directory.last_metrics(), result, problem)
