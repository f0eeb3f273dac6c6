"""Where a run will train, as a forecast sees it: its device, its memory there, its precision.

This machine is known. Of a cluster's node a forecast knows what the run asks for, and no more: not
how fast it is, and not how large its cards are.
"""

from __future__ import annotations

from dataclasses import dataclass

from lora_engine.base_models import BaseModel
from lora_engine.calculator.memory_request import GIB
from lora_engine.devices import CPU, pick_device
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from lora_engine.spec.resources import LauncherName
from lora_engine.training.compatibility import Machine, machine_of
from lora_engine.training.memory.out_of_memory import available_bytes
from lora_engine.training.precision import precision_of

HERE: LauncherName = "local"


@dataclass(frozen=True)
class ForecastPlace:
    """name: as `spec.launcher` has it. memory_bytes: what the run has there; None where nobody
    here knows."""

    name: LauncherName
    device: str
    memory_bytes: int | None
    machine: Machine

    @property
    def is_here(self) -> bool:
        return self.name == HERE

    def precision(self, spec: RunSpec, base: BaseModel) -> str:
        """That of a run's base. A device elsewhere cannot be asked: all cards since 2020 have
        bfloat16, and of a processor float32 is said, which takes more memory."""
        if spec.optimization.precision == "auto" and not self.is_here:
            return "bfloat16" if self.device == "cuda" else "float32"
        return precision_of(spec, self.device, base)


def place_of(spec: RunSpec, settings: Settings) -> ForecastPlace:
    """Raises EngineError where this machine's device is asked for and does not work."""
    machine = machine_of(spec, settings)
    if spec.launcher == HERE:
        device = pick_device(settings)
        return ForecastPlace(HERE, device, available_bytes(device), machine)
    asked = spec.resources
    if asked.gpus or asked.memory_gib is None:  # what is asked for is the host's memory
        return ForecastPlace(spec.launcher, "cuda" if asked.gpus else CPU, None, machine)
    return ForecastPlace(spec.launcher, CPU, round(asked.memory_gib * GIB), machine)
