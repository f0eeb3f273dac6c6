"""Which waiting runs the next worker trains: the first, and what can share its base with it.

Runs of one sweep share a worker where they train over the same base on the same data. Knows
nothing of processes or files.
"""

from __future__ import annotations

from collections.abc import Sequence

from lora_engine.runs.record import RunRecord
from lora_engine.training.together import SharingKey, sharing_key

MOST_RUNS = 16  # of one worker


def runs_of_next_worker(queue: Sequence[RunRecord]) -> list[RunRecord]:
    """The first run of the queue, with those of its sweep that can share its worker, in order."""
    if not queue:
        return []
    key = _group(queue[0])
    sharing = [run for run in queue[1:] if key is not None and _group(run) == key]
    return [queue[0], *sharing][:MOST_RUNS]


def _group(run: RunRecord) -> tuple[str, SharingKey] | None:
    """Runs with the same group can share a worker; None: the run trains alone."""
    if run.sweep is None or run.spec is None:
        return None
    key = sharing_key(run.spec)
    return None if key is None else (run.sweep, key)
