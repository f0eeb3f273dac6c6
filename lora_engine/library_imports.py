"""Importing the heavy libraries from several threads of a server, one at a time.

transformers fills its namespace lazily and is not safe against two threads that import parts of
it at once: one of them can meet a half-filled module. Whoever may be the first to need it calls
these before importing from it. In a worker, with one thread, they cost nothing extra.

bitsandbytes, which the others load, is told to keep its hints to itself: that a kernel of the hub
is not installed, and that 8-bit products cast their inputs, is nothing a person can act on here.
"""

from __future__ import annotations

import atexit
import gc
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ONE_AT_A_TIME = threading.RLock()


def import_bitsandbytes() -> None:
    """Make bitsandbytes importable by any thread from now on, without its hints."""
    with _ONE_AT_A_TIME:
        _silence_hints()
        import bitsandbytes  # noqa: F401


@contextmanager
def uncollected() -> Iterator[None]:
    """For the start of a process: no search for garbage among what it makes, which is a fifth of
    the time and finds next to nothing. What is there at the end is left out of all later searches
    too, but not the one at the process's end, which closes what is open."""
    gc.disable()
    try:
        yield
        gc.freeze()
        atexit.register(gc.unfreeze)
    finally:
        gc.enable()


def import_tokenizers() -> None:
    """Make transformers' tokenizers importable by any thread from now on: a sixth of the time of
    its automatic classes, and no torch. Once it is done, nobody waits for other imports."""
    if "PreTrainedTokenizerFast" in vars(sys.modules.get("transformers", object)):
        return
    with _ONE_AT_A_TIME:
        from transformers import PreTrainedTokenizerFast  # noqa: F401


def import_transformers() -> None:
    """Make transformers' automatic classes importable by any thread from now on."""
    with _ONE_AT_A_TIME:
        _silence_hints()
        from transformers import (  # noqa: F401
            CONFIG_MAPPING,
            AutoConfig,
            AutoModelForCausalLM,
            AutoTokenizer,
        )


def import_peft() -> None:
    """Make PEFT, and transformers before it, importable by any thread from now on."""
    with _ONE_AT_A_TIME:
        import_transformers()
        import peft  # noqa: F401


def _silence_hints() -> None:
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
