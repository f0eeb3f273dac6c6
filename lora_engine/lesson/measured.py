"""What was measured of the starter for Learn, as it lies in `measured.json` beside this module.

`python -m lora_engine.lesson.measure` writes the file. Reading it loads no torch and computes
nothing. Modules are called by layer and kind, as `2.v_proj`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lora_engine.spec import WAY_NAMES, Way

FILE = Path(__file__).parent / "measured.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HowMeasured(_Part):
    """On what, by what and when."""

    command: str
    date: str
    machine: str
    model: str
    dataset: str
    epochs: float
    batch_size: int
    seed: int
    method_steps: int


class WhereItSits(_Part):
    """Which modules of one LoRA adapter carry what it learned. Losses: nats a token, held out.

    left_out: the loss without the updates of `layer.part` (one module), `*.part` (a kind in all
    layers), `layer.*` (a layer), and with `only.part` (one kind alone). norms: ‖ΔW‖ by module.
    """

    rank: int
    rows: int
    base_loss: float
    loss: float
    left_out: Mapping[str, float]
    norms: Mapping[str, float]


class EnergyOfUpdate(_Part):
    """The updates of one training. curves: energy(1), energy(2), … of each module, at most 64;
    values_for_90: how many singular values hold 90 %; norms: ‖ΔW‖. All by module."""

    trained: str
    curves: Mapping[str, tuple[float, ...]]
    values_for_90: Mapping[str, int]
    norms: Mapping[str, float]


class MeasuredWay(_Part):
    """One method after a few steps. times_base: how long a token of an answer takes, in the
    base's; None where it was not measured."""

    way: Way
    trained_parameters: int | None
    peak_memory_bytes: int
    eval_loss: float | None
    times_base: float | None

    @property
    def name(self) -> str:
        return WAY_NAMES[self.way]


class ComputedMemory(_Part):
    """What the notes say of one training and what the calculator counts, in GB (10⁹ bytes).

    parts_gb: weights, state (adapter and optimizer), step (comes and goes), margin.
    """

    model: str
    method: str
    noted_gb: float
    total_gb: float
    parts_gb: Mapping[str, float]


class Measured(_Part):
    """The whole file."""

    how: HowMeasured
    where: WhereItSits
    energy: tuple[EnergyOfUpdate, ...]
    methods: tuple[MeasuredWay, ...]
    memory: tuple[ComputedMemory, ...]

    def energy_of(self, trained: str) -> EnergyOfUpdate:
        return next(one for one in self.energy if one.trained == trained)


@cache
def read_measured() -> Measured:
    """The committed measurements."""
    return Measured.model_validate_json(FILE.read_bytes())
