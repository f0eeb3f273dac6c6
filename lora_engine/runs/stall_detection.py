"""Whether a worker that is alive gets anywhere: since when it logged no step, and if it is stopped.

The time is the file's own, so a clock that was changed shows at most one wrong figure and never
ends a run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from lora_engine.run_folder.directory import MetricsRow, RunDirectory
from lora_engine.runs.launcher import is_stopped
from lora_engine.runs.states import ACTIVE
from lora_engine.runs.store import RunRecord

LEAST_S = 30.0
STEPS = 20  # as many mean steps without a row are more than an evaluation or a save takes


@dataclass(frozen=True)
class Silence:
    """No step for `seconds`; `is_stopped` where the process was stopped by a signal."""

    seconds: float
    is_stopped: bool


def silence_of(
    record: RunRecord, directory: RunDirectory, newest: MetricsRow | None
) -> Silence | None:
    """None where the run is not active, not yet at its first step, or lately logged one."""
    if record.state not in ACTIVE:
        return None
    stopped = is_stopped(directory)
    if newest is None:
        return Silence(0.0, stopped) if stopped else None
    seconds = max(0.0, time.time() - directory.metrics_path.stat().st_mtime)
    # A resumed worker loads the model first; the file is then older than its start.
    seconds = min(seconds, max(0.0, time.time() - (record.started_at or 0.0)))
    patience = max(LEAST_S, STEPS * newest.elapsed_s / newest.step)
    return Silence(seconds, stopped) if stopped or seconds > patience else None
