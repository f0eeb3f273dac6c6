"""What the states of a run are called."""

from __future__ import annotations

from lora_engine.language import tr, translatable
from lora_engine.runs import RunState

NAMES = {
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


def name(state: RunState) -> str:
    """The state in the language of the page."""
    return tr(NAMES[state])
