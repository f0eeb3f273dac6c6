"""Work on what strangers wrote, in a process of its own under limits of memory, time and output."""

from lora_engine.guard.asking import (
    OutOfBounds,
    run_guarded,
    stream_guarded,
)

__all__ = ["OutOfBounds", "run_guarded", "stream_guarded"]
