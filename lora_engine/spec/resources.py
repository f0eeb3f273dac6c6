"""Where a run trains, and what it asks of that place by name."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lora_engine.spec.section import Section

LauncherName = Literal["local", "ray", "slurm"]


class ResourcesSpec(Section):
    """What a run asks for on a cluster. This machine gives what it has."""

    cpus: int | None = Field(
        None,
        title="Cores",
        description="Cores that a cluster gives the run; its own default where empty.",
        ge=1,
        le=1_024,
    )
    gpus: int = Field(
        0,
        title="Cards",
        description="Graphics cards that a cluster gives the run; without one it trains on the "
        "processor.",
        ge=0,
        le=64,
    )
    memory_gib: float | None = Field(
        None,
        title="Memory (GiB)",
        description="Memory that a cluster gives the run; its own default where empty.",
        ge=0.25,
        le=100_000,
    )
