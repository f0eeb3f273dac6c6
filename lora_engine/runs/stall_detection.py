"""Whether a living worker gets anywhere: how long it has logged no step, and if it is stopped.

The time is that of the metrics file, so a changed clock shows at most one wrong figure and never
ends a run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from lora_engine.run_folder import MetricsRow, RunDirectory
from lora_engine.runs.launcher import is_stopped
from lora_engine.runs.launchers import read_queue
from lora_engine.runs.record import RunRecord
from lora_engine.runs.states import ACTIVE

LEAST_S = 30.0
STEPS = 20  # an evaluation or a save takes less time than this many mean steps


@dataclass(frozen=True)
class Stall:
    """No step for `seconds`; `is_stopped` where a signal stopped the process."""

    seconds: float
    is_stopped: bool


def find_stall(
    record: RunRecord, directory: RunDirectory, newest: MetricsRow | None
) -> Stall | None:
    """None where the run is not active, has not reached its first step, waits in the queue of its
    cluster, or logged a step lately."""
    if record.state not in ACTIVE:
        return None
    stopped = is_stopped(directory)
    queue = read_queue(directory)
    if newest is None or (queue is not None and queue.waits):
        return Stall(0.0, stopped) if stopped else None
    seconds = max(0.0, time.time() - directory.metrics_path.stat().st_mtime)
    # A resumed worker loads the model first; the file is then older than its start.
    began = max(record.started_at or 0.0, 0.0 if queue is None else queue.since)
    seconds = min(seconds, max(0.0, time.time() - began))
    patience = max(LEAST_S, STEPS * newest.elapsed_s / newest.step)
    return Stall(seconds, stopped) if stopped or seconds > patience else None
