"""What the resize tab asks of the engine: the target of its fields, its works, and `/resize`.

Knows no component.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lora_engine.adapter_operations import (
    HeldOutAtRanks,
    LossesBeside,
    ResizeCurve,
    ResizeReport,
    ResizeTarget,
    ToEnergy,
    ToRank,
    ToThreshold,
)
from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.spectrum import ReportProgress
from pages.shared import layout
from pages.shared.background_work import Work

RANK, ENERGY, THRESHOLD = "rank", "energy", "threshold"


def resize_target(kind: str, rank: float, energy: float, threshold: float) -> ResizeTarget:
    """What the fields ask for. Raises EngineError for a field that is empty or no whole rank."""
    value = {RANK: rank, ENERGY: energy, THRESHOLD: threshold}.get(kind)
    if value is None:
        raise EngineError(f"No {kind} is given.", "Give a number.")
    if kind == RANK:
        whole = layout.whole(value)
        if not isinstance(whole, int):
            raise EngineError(f"The rank is {value:g}; whole numbers are possible.", "Give one.")
        return ToRank(whole)
    return ToEnergy(float(value)) if kind == ENERGY else ToThreshold(float(value))


def the_target(rank: int | None, energy: float | None, threshold: float | None) -> ResizeTarget:
    """The one of three that is given. Raises EngineError for none or several."""
    given = {RANK: rank, ENERGY: energy, THRESHOLD: threshold}
    kinds = [kind for kind, value in given.items() if value is not None]
    if len(kinds) != 1:
        raise EngineError("One of rank, energy and threshold is needed.", "Give one of them.")
    return resize_target(kinds[0], rank or 0, energy or 0.0, threshold or 0.0)


def weighing(engine: Engine, adapter: str) -> Work[ResizeCurve]:
    """Work: the curve of the adapter's sizes."""

    def weigh(progress: ReportProgress, stop: StopSignal) -> ResizeCurve:
        return engine.adapter_operations.resize_curve(adapter, progress=progress, stop=stop)

    return weigh


def measuring_ranks(engine: Engine, adapter: str) -> Work[HeldOutAtRanks]:
    """Work: the adapter's held-out loss at the powers of two up to its rank."""

    def measure(progress: ReportProgress, stop: StopSignal) -> HeldOutAtRanks:
        return engine.adapter_operations.held_out_at_ranks(adapter, progress=progress, stop=stop)

    return measure


def resizing(
    engine: Engine, adapter: str, output: Path, target: ResizeTarget, overwrite: bool
) -> Work[ResizeReport]:
    """Work: the adapter written at the target's size."""

    def resize(progress: ReportProgress, stop: StopSignal) -> ResizeReport:
        return engine.adapter_operations.resize(
            adapter, output, target, overwrite=overwrite, progress=progress, stop=stop
        )

    return resize


def measuring(engine: Engine, adapters: list[str], rows_of: list[str]) -> Work[LossesBeside]:
    """Work: the losses of the adapters beside each other."""

    def measure(progress: ReportProgress, stop: StopSignal) -> LossesBeside:
        return engine.adapter_operations.losses_beside(
            adapters, rows_of, progress=progress, stop=stop
        )

    return measure


def resize_endpoint(engine: Engine) -> Callable[..., dict]:
    """The function behind `/resize`."""

    def resize(
        adapter: str,
        name: str,
        rank: int | None = None,
        energy: float | None = None,
        threshold: float | None = None,
        overwrite: bool = False,
    ) -> dict:
        """Write an adapter at a smaller rank under a new name. Give one of rank, energy, threshold.

        The keys are those of `python -m lora_engine resize --json`.
        """
        target = the_target(rank, energy, threshold)
        output = engine.adapter_operations.adapter_folder(name)
        done = engine.adapter_operations.resize(adapter, output, target, overwrite=overwrite)
        return done.to_json()

    return resize
