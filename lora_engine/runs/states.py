"""The states of a run, and which of them are active, resumable or over.

    queued -> running -> finished | failed | interrupted
                      -> pausing -> paused            (stopped with a checkpoint, to resume later)
                      -> cancelling -> cancelled
                      -> paused      (its worker stopped it as worse than another of its sweep)

A paused, interrupted, failed or cancelled run can be queued again. A new state needs a migration
in `store`, so that an earlier program refuses the list instead of hiding the run.
"""

from __future__ import annotations

from enum import StrEnum

from lora_engine.language import tr, translatable


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


STATE_NAMES = {
    RunState.QUEUED: translatable("queued"),
    RunState.RUNNING: translatable("running"),
    RunState.PAUSING: translatable("pausing"),
    RunState.PAUSED: translatable("paused"),
    RunState.CANCELLING: translatable("cancelling"),
    RunState.CANCELLED: translatable("cancelled"),
    RunState.FINISHED: translatable("finished"),
    RunState.FAILED: translatable("failed"),
    RunState.INTERRUPTED: translatable("interrupted"),
}
STOPPING = (RunState.PAUSING, RunState.CANCELLING)
ACTIVE = (RunState.RUNNING, *STOPPING)
RESUMABLE = (RunState.PAUSED, RunState.INTERRUPTED, RunState.FAILED, RunState.CANCELLED)
OVER = (RunState.FINISHED, *RESUMABLE)


def state_name(state: RunState) -> str:
    """What a person calls the state, in the present language."""
    return tr(STATE_NAMES[state])
