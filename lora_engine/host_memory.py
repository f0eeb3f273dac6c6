"""How the host's allocator (glibc's) holds memory that is free. Knows nothing of models.

A process that trains on the CPU makes and drops blocks of many megabytes in two threads, forward
and backward. Left alone, glibc gives each thread a heap of its own and keeps the holes: up to
1.6 times what is used at once. Elsewhere than under glibc these functions do nothing.
"""

from __future__ import annotations

import ctypes
import gc

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # mallopt(3)
LARGE_BLOCK_BYTES = 4 << 20


def give_back_freed_memory() -> None:
    """Return the free pages to the system."""
    gc.collect()
    _call("malloc_trim", 0)


def share_one_heap() -> None:
    """Let threads reuse what others freed. Call before the first of them starts."""
    _call("mallopt", M_ARENA_MAX, 1)


def return_large_blocks() -> None:
    """Return each block from LARGE_BLOCK_BYTES on when it is freed, and leave no hole.

    It costs time, for the system hands out cleared pages: 7 % of a step, where it was measured
    (docs/calculator.md). Worth it where memory was asked for before speed.
    """
    _call("mallopt", M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)


def _call(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)
