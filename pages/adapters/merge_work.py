"""What the merge tab asks of the engine: what there is to choose, the merge, and `/merge`.

Knows no component.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lora_engine.adapter_operations import DType, MergeReport, Weights
from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.spectrum import ReportProgress
from pages.shared.background_work import Work


@dataclass(frozen=True)
class MergeRequest:
    """What the fields ask for; None where a field leaves it to the engine."""

    adapter: str
    name: str
    base: str | None
    dtype: DType | None
    weights: Weights | None
    original: str | None
    prove: bool


def merging(engine: Engine, request: MergeRequest, overwrite: bool) -> Work[MergeReport]:
    """Work: the merged model written and, where that is asked for, measured."""
    operations = engine.adapter_operations
    output = operations.model_folder(request.name)

    def merge(progress: ReportProgress, stop: StopSignal) -> MergeReport:
        return operations.merge(
            request.adapter,
            output,
            base=request.base,
            original=request.original,
            dtype=request.dtype,
            weights=request.weights,
            prove=request.prove,
            overwrite=overwrite,
            progress=progress,
            stop=stop,
        )

    return merge


def merge_endpoint(engine: Engine) -> Callable[..., dict]:
    """The function behind `/merge`."""

    def merge(
        adapter: str,
        name: str,
        base: str | None = None,
        dtype: DType | None = None,
        weights: Weights | None = None,
        original: str | None = None,
        rows: str | None = None,
        prove: bool = True,
        overwrite: bool = False,
    ) -> dict:
        """Write an adapter into the weights of its base, as a base model of a new name.

        The keys are those of `python -m lora_engine merge --json`.
        """
        operations = engine.adapter_operations
        done = operations.merge(
            adapter,
            operations.model_folder(name),
            base=base,
            original=original,
            rows=rows,
            dtype=dtype,
            weights=weights,
            prove=prove,
            overwrite=overwrite,
        )
        return done.to_json()

    return merge
