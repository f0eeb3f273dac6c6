"""A base model that was loaded before its run was known: what the standby keeps for the next one.

The run takes it where it would load the same: the same folder and precision, nothing quantized or
streamed, and files that nobody touched since. Else it is dropped before the run loads its own. It
is loaded as every run loads it, and only kept where that draws no random numbers, so that a run on
it is the run on a base of its own. On the processor only.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.base_models import BaseModel, fingerprint, load_base_model, stored_quantization
from lora_engine.host_memory import share_one_heap
from lora_engine.spec import RunSpec
from lora_engine.training.memory.usage import memory_bytes

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class LoadedBase:
    """A base in memory. files: what its folder was when it was loaded; resident_bytes: what the
    process grew by."""

    base: BaseModel
    dtype: torch.dtype
    model: PreTrainedModel
    files: tuple
    resident_bytes: int


class KeptBase:
    """Room for one loaded base, which is given away once."""

    def __init__(self, loaded: LoadedBase | None = None) -> None:
        self._loaded = loaded

    def take(self, spec: RunSpec, base: BaseModel, dtype: torch.dtype) -> LoadedBase | None:
        """The base for this run; None where there is none that fits, which is then let go."""
        loaded, self._loaded = self._loaded, None
        if loaded is None or not can_be_kept(spec):
            return None
        same = loaded.base.path == base.path and loaded.dtype == dtype
        return loaded if same and loaded.files == _files(base) else None


def can_be_kept(spec: RunSpec) -> bool:
    """Whether a run loads its base as `load_kept_base` does, whatever the base is."""
    optimization = spec.optimization
    is_whole = spec.quantization is None and not optimization.stream_base
    return is_whole and spec.task == "causal_lm" and optimization.devices == 1


def load_kept_base(base: BaseModel, dtype: torch.dtype) -> KeptBase:
    """Load it for a run that may come; empty where no run could take it.

    Raises EngineError for a base that cannot be loaded.
    """
    if stored_quantization(base) is not None:
        return KeptBase()
    share_one_heap()
    files, drawn, before = _files(base), _random_states(), memory_bytes("cpu")
    model = load_base_model(base, "cpu", dtype)
    if drawn != _random_states() or files != _files(base):
        return KeptBase()
    return KeptBase(LoadedBase(base, dtype, model, files, memory_bytes("cpu") - before))


def _files(base: BaseModel) -> tuple:
    """A value that changes when a file of the base does."""
    assert base.path is not None, "only a local base is kept"
    with os.scandir(base.path) as entries:
        states = sorted((entry.name, entry.stat()) for entry in entries)
    times = [(name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in states]
    return (fingerprint(base), *times)


def _random_states() -> tuple:
    import numpy as np
    import torch

    numbers = np.random.get_state(legacy=True)
    return random.getstate(), str(numbers), bytes(torch.get_rng_state().numpy())
