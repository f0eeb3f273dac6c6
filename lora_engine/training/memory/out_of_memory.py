"""Out of memory: what was predicted, used and available, and what would fit instead.

The calculator estimates the run again with other fields until it fits; its changes become fields
of the spec, which the page offers as a button. Only the peak is measured; the rest is estimated.
"""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import psutil

from lora_engine.base_models import resolve_base_model, spec_on_base
from lora_engine.calculator.memory import estimate_memory
from lora_engine.calculator.memory_fit import Change, make_it_fit
from lora_engine.calculator.memory_request import GIB, MemoryRequest, with_changes
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.run_folder import FittingChange, MemoryShortage, RunDirectory, RunProblem
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from lora_engine.training.compatibility import allows_streaming
from lora_engine.training.conflicts import STREAM_BASE
from lora_engine.training.memory.prediction import (
    Prediction,
    parts_of,
    read_prediction,
    request_of,
)
from lora_engine.training.memory.usage import peak_memory_bytes
from lora_engine.training.precision import precision_of_begun_run

log = logging.getLogger("lora_engine.training.worker")
# The run needed more than was estimated, so a change must save at least this share of the memory
# that comes and goes in a step.
LEAST_SAVING = 0.2
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
SPEC_PATHS = {
    "workload.batch_size": "optimization.batch_size",
    "workload.seq_length": "optimization.max_length",
    "workload.dtype": "optimization.precision",
}


def explain_out_of_memory(
    error: Exception, directory: RunDirectory, settings: Settings
) -> RunProblem:
    """The problem in words and figures, with the smallest changes that together should fit."""
    peak = peak_memory_bytes()
    traceback.clear_frames(error.__traceback__)  # frees the model: what follows needs memory too
    prediction = read_prediction(directory)
    device = "cpu" if prediction is None else prediction.device
    available = available_bytes(device)
    estimate = None
    if prediction is not None:
        estimate = prediction.baseline_bytes + prediction.total_bytes
    changes = _changes(directory, prediction, available, settings)
    facts = MemoryShortage(
        estimate_bytes=estimate, peak_bytes=peak, available_bytes=available, changes=changes
    )
    return RunProblem(
        problem=_in_words(facts, device), remedy=_remedy(changes), out_of_memory=facts
    )


def available_bytes(device: str) -> int:
    """All the memory of the device: the GPU's, or the host's within our cgroup's limit."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_properties(0).total_memory
    total = psutil.virtual_memory().total
    if CGROUP_LIMIT.is_file():
        limit = CGROUP_LIMIT.read_text().strip()
        return min(total, int(limit)) if limit.isdigit() else total
    return total


def _changes(
    directory: RunDirectory, prediction: Prediction | None, available: int, settings: Settings
) -> tuple[FittingChange, ...]:
    """The calculator's changes as fields of the spec; none where it finds no fit."""
    if prediction is None:
        return ()
    spec = directory.spec()
    try:
        request = _request(directory, spec, prediction, settings)
        expected = estimate_memory(request)
        _, moving, _ = parts_of(expected)
        room = (available - prediction.baseline_bytes) / GIB
        wanted = min(room, expected.total_gib - LEAST_SAVING * moving)
        found = make_it_fit(request, max(0.001, wanted))
    except (EngineError, MemoryError) as error:
        log.info("no change that would fit was found: %s", error)
        return ()
    fields = {path for change in found.changes for path in change.fields}
    is_stored = request.quantization != spec.quantization  # its bits are the base's own
    if STREAM_BASE in fields and not allows_streaming(spec):
        return ()
    if not found.fits or (is_stored and any(path.startswith("quantization") for path in fields)):
        return ()
    return tuple(_as_fields(change) for change in found.changes)


def _request(
    directory: RunDirectory, spec: RunSpec, prediction: Prediction, settings: Settings
) -> MemoryRequest:
    """The run as a request to the calculator, its batch as rows of the mean length."""
    base = resolve_base_model(spec.base_model, settings)
    assert base.path is not None, "a prediction is only written for a local base model"
    spec = spec_on_base(spec, base)
    dtype = precision_of_begun_run(directory, spec, prediction.device, base)
    tokens, rows = prediction.batch_tokens, spec.optimization.batch_size
    request = request_of(spec, base.path, prediction.device, dtype, tokens, 1.0)
    length = max(1, -(-tokens // rows))
    return with_changes(request, {"workload.batch_size": rows, "workload.seq_length": length})


def _as_fields(change: Change) -> FittingChange:
    """The change under the names of the spec, which the request's are but for its workload."""
    fields = {SPEC_PATHS.get(path, path): value for path, value in change.fields.items()}
    return FittingChange(what=change.what, harm=change.harm, fields=fields)


def _in_words(facts: MemoryShortage, device: str) -> str:
    estimate = facts.estimate_bytes
    return tr(
        "The worker ran out of memory: {peak} GiB were in use at the peak, {where} has {available} "
        "GiB."
        if estimate is None
        else "The worker ran out of memory: {estimate} GiB were estimated, {peak} GiB were in use "
        "at the peak, {where} has {available} GiB.",
        estimate=f"{(estimate or 0) / GIB:.2f}",
        peak=f"{facts.peak_bytes / GIB:.2f}",
        where=tr("the GPU") if device == "cuda" else tr("this machine"),
        available=f"{(facts.available_bytes or 0) / GIB:.2f}",
    )


def _remedy(changes: tuple[FittingChange, ...]) -> str:
    if not changes:
        return tr("Halve the batch size or the longest row, or choose 4-bit quantization.")
    steps = "; ".join(
        tr("{what} ({harm})", what=change.what, harm=change.harm) for change in changes
    )
    return tr("The nearest change that should fit: {steps}.", steps=steps)
