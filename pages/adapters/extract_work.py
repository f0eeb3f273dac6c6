"""What the extract tab asks of the engine: the extraction, its losses, and `/extract`.

Knows no component.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lora_engine.adapter_operations import (
    ExtractionLosses,
    ExtractReport,
    ResizeTarget,
    one_target,
)
from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.spectrum import ReportProgress
from pages.shared.background_work import Work


@dataclass(frozen=True)
class ExtractRequest:
    """What the fields ask for. rows: a dataset to measure on; None for none."""

    base: str
    tuned: str
    name: str
    target: ResizeTarget
    rows: str | None


def extracting(engine: Engine, request: ExtractRequest, overwrite: bool) -> Work[ExtractReport]:
    """Work: the adapter written. Raises InvalidInput for its name, now."""
    operations = engine.adapter_operations
    output = operations.adapter_folder(request.name)

    def extract(progress: ReportProgress, stop: StopSignal) -> ExtractReport:
        return operations.extract(
            request.base,
            request.tuned,
            output,
            request.target,
            overwrite=overwrite,
            progress=progress,
            stop=stop,
        )

    return extract


def measuring(
    engine: Engine, request: ExtractRequest, adapter: Path, rows: str
) -> Work[ExtractionLosses]:
    """Work: the losses of base, tuned model and base with the written adapter."""

    def measure(progress: ReportProgress, stop: StopSignal) -> ExtractionLosses:
        return engine.adapter_operations.extraction_losses(
            request.base, request.tuned, adapter, rows, progress=progress, stop=stop
        )

    return measure


def extract_endpoint(engine: Engine) -> Callable[..., dict]:
    """The function behind `/extract`."""

    def extract(
        base: str,
        tuned: str,
        name: str,
        rank: int | None = None,
        energy: float | None = None,
        threshold: float | None = None,
        rows: str | None = None,
        overwrite: bool = False,
    ) -> dict:
        """Write what a full fine-tuning changed as an adapter of a new name.

        Give one of rank, energy, threshold. rows: a dataset to measure the losses on. The keys are
        those of `python -m lora_engine extract --json`.
        """
        operations = engine.adapter_operations
        done = operations.extract(
            base,
            tuned,
            operations.adapter_folder(name),
            one_target(rank, energy, threshold),
            rows=rows,
            overwrite=overwrite,
        )
        return done.to_json()

    return extract
