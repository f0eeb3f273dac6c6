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
    one_target,
)
from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum import ReportProgress
from pages.shared import layout
from pages.shared.background_work import Work

RANK, ENERGY, THRESHOLD = "rank", "energy", "threshold"


def resize_target(kind: str, rank: float, energy: float, threshold: float) -> ResizeTarget:
    """What the fields ask for. Raises EngineError for an empty field, and as `one_target`."""
    if {RANK: rank, ENERGY: energy, THRESHOLD: threshold}.get(kind) is None:
        missing = {
            RANK: tr("No rank is given."),
            ENERGY: tr("No energy is given."),
            THRESHOLD: tr("No threshold is given."),
        }
        raise EngineError(missing.get(kind, tr("No size is given.")), tr("Give a number."))
    return one_target(
        layout.whole(rank) if kind == RANK else None,
        energy if kind == ENERGY else None,
        threshold if kind == THRESHOLD else None,
    )


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
        target = one_target(rank, energy, threshold)
        output = engine.adapter_operations.adapter_folder(name)
        done = engine.adapter_operations.resize(adapter, output, target, overwrite=overwrite)
        return done.to_json()

    return resize
