"""The states of a run, and which of them go on, can be gone on from, or are over.

    queued -> running -> finished | failed | interrupted
                      -> pausing -> paused            (stopped with a checkpoint, to go on later)
                      -> cancelling -> cancelled

A paused, interrupted, failed or cancelled run can be queued again.
"""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


ACTIVE = (RunState.RUNNING, RunState.PAUSING, RunState.CANCELLING)
RESUMABLE = (RunState.PAUSED, RunState.INTERRUPTED, RunState.FAILED, RunState.CANCELLED)
OVER = (RunState.FINISHED, *RESUMABLE)
