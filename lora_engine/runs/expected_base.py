"""Which base the standby loads for the next run, and whether there is memory for it.

After a run has ended well its base is expected again. It is loaded where it takes at most a share
of the memory that is free beyond what a standby needs anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

from lora_engine.base_models import resolve_base_model, weight_numbers
from lora_engine.devices import CPU
from lora_engine.errors import EngineError
from lora_engine.free_memory import DeviceMemory
from lora_engine.run_folder import RunResult
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from lora_engine.training.kept_base import can_be_kept

STANDBY_NEEDS_BYTES = 2 << 30  # free on this machine: it takes a quarter, a run the rest
BASE_SHARE = 0.25  # of what is free beyond that
MOST_NUMBER_BYTES = 4  # of one number of a base in memory


@dataclass(frozen=True)
class ExpectedBase:
    """The base of a run that may come. bytes: at most what it takes."""

    name: str
    precision: str
    bytes: int


def base_of_ended_run(
    spec: RunSpec | None, device: str | None, result: RunResult | None, settings: Settings
) -> ExpectedBase | None:
    """The base that another run like this one would train; None for one that is not kept."""
    if result is None or result.state == "failed" or spec is None:
        return None
    if device != CPU or not can_be_kept(spec):
        return None
    try:
        base = resolve_base_model(spec.base_model, settings)
        size = MOST_NUMBER_BYTES * weight_numbers(base)
    except EngineError:  # it is gone meanwhile, which its next run will say
        return None
    if not base.is_local:
        return None
    return ExpectedBase(spec.base_model, spec.optimization.precision, size)


def has_room(memory: DeviceMemory | None, base: ExpectedBase | None = None) -> bool:
    """Whether this machine has memory for a standby, with this base. memory: what is free now, None
    where nothing tells it, which is enough for a standby without a base."""
    if memory is None:
        return base is None
    beyond = memory.free_bytes - STANDBY_NEEDS_BYTES
    return beyond >= 0 and (base is None or base.bytes <= BASE_SHARE * beyond)
