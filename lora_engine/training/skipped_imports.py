"""What a run need not import. Knows a run's spec; imports no library."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from lora_engine.spec import RunSpec


def skip_unused_imports(specs: Sequence[RunSpec]) -> None:
    """Keep PEFT from importing bitsandbytes, and torch's compiler with it: 2 of 7 seconds.

    A None in sys.modules is Python's own way to say that a module cannot be imported. It lasts for
    the process, so this is for a process that trains these runs and no other.
    """
    if not any(needs_bitsandbytes(spec) for spec in specs):
        modules: dict[str, Any] = sys.modules  # typeshed has no None for "not importable"
        modules["bitsandbytes"] = None


def needs_bitsandbytes(spec: RunSpec) -> bool:
    return spec.quantization is not None or spec.optimization.optimizer not in (
        "adamw",
        "adafactor",
    )
