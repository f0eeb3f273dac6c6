"""A run's predicted memory beside its measured one, and margins refitted from both.

The worker writes `prediction.json` before it loads the model, and the peak at its end into
`result.json`; here both are read back. What no shape tells (allocator, threads' buffers) is fitted
to the runs by least squares. Knows nothing of how a run trains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from lora_engine.calculator.memory import MARGINS, estimate_memory
from lora_engine.calculator.memory_request import (
    GIB,
    Margins,
    MemoryEstimate,
    MemoryRequest,
    read_request,
)
from lora_engine.calculator.model_source import path_source
from lora_engine.errors import Unreadable
from lora_engine.files import read_bounded
from lora_engine.run_folder import RunDirectory
from lora_engine.spec import RunSpec

if TYPE_CHECKING:
    import numpy as np

FILE = "prediction.json"
MAX_BYTES = 100_000
LEAST_SPREAD = 0.5
LEAST_RUNS = 3  # below this the stated margins stay
# A run beyond these (measured / predicted without margins) differs in kind, and fits no margin.
ALIKE = (0.5, 2.0)
MOST_SHARE, MOST_OVERHEAD_GIB = 1.0, 2.0  # beyond these a fit is no margin


class Prediction(BaseModel):
    """What a worker expected before it loaded the model; all in bytes.

    staying: weights, adapter, optimizer; moving: what comes and goes in every step; margin: the
    stated margins; baseline: the process's own memory before the model (0 on CUDA, where the peak
    counts tensors alone).
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    device: str
    baseline_bytes: int
    staying_bytes: int
    moving_bytes: int
    margin_bytes: int
    batch_tokens: int

    @property
    def total_bytes(self) -> int:
        return self.staying_bytes + self.moving_bytes + self.margin_bytes

    @property
    def peak_bytes(self) -> int:
        """What the measured peak was expected to be, the process's own memory included."""
        return self.baseline_bytes + self.total_bytes


@dataclass(frozen=True)
class MemoryRecord:
    """One run: what was predicted, and its measured peak above the baseline in bytes."""

    run: str
    prediction: Prediction
    measured_bytes: int

    @property
    def error(self) -> float:
        """Predicted / measured - 1."""
        return self.prediction.total_bytes / self.measured_bytes - 1


def heaviest_batch(lengths: Sequence[int] | np.ndarray, batch_size: int, steps: int) -> int:
    """Tokens of the largest of `steps` random batches of rows of these lengths.

    B mean + sqrt(2 ln steps) sd sqrt(B), the size that the largest of so many normal values
    nears from below; never more than the B longest rows.
    """
    import numpy as np

    values = np.asarray(lengths)
    drawn = min(batch_size, len(values))
    longest = int(np.partition(values, len(values) - drawn)[len(values) - drawn :].sum())
    spread = float(values.std()) * math.sqrt(drawn * 2 * math.log(max(1, steps)))
    return max(1, min(longest, round(drawn * float(values.mean()) + spread)))


def request_of(
    spec: RunSpec, folder: Path, device: str, dtype: str, batch_tokens: int, supervised: float
) -> MemoryRequest:
    """What a run asks of the memory. dtype: float32 or bfloat16; supervised: share of tokens.

    batch_tokens: virtual tokens included, of which the request counts those of one row itself. The
    rows of a batch lie end to end, so the batch is one row of all its tokens.
    Raises InvalidInput where the batch has more tokens than the calculator takes.
    """
    workload = {
        "batch_size": 1,
        "seq_length": max(1, batch_tokens - spec.method.added_tokens),
        "dtype": dtype,
        "supervised_fraction": max(1e-6, min(1.0, supervised)),
        "device": "cuda" if device == "cuda" else "cpu",
        "checkpoint_bytes": sum(path.stat().st_size for path in folder.glob("*.safetensors")),
    }
    parts = spec.model_dump(include={"method", "quantization", "optimization"})
    return read_request(path_source(folder), {**parts, "workload": workload})


def predict(request: MemoryRequest, baseline_bytes: int, margins: Margins = MARGINS) -> Prediction:
    """The prediction for a request. Raises as `count_model` does."""
    estimate = estimate_memory(request, margins)
    staying, moving, margin = parts_of(estimate)
    return Prediction(
        device=request.workload.device,
        baseline_bytes=baseline_bytes,
        staying_bytes=round(staying * GIB),
        moving_bytes=round(moving * GIB),
        margin_bytes=round(margin * GIB),
        batch_tokens=request.tokens,
    )


def parts_of(estimate: MemoryEstimate) -> tuple[float, float, float]:
    """GiB that stay, that come and go, and of margins other than the CUDA context."""
    return estimate.gib_of("weights", "state"), estimate.gib_of("step"), estimate.gib_of("margin")


def read_prediction(directory: RunDirectory) -> Prediction | None:
    """What a run expected; None where it could not tell, such as for a base of the hub."""
    try:
        return Prediction.model_validate_json(read_bounded(directory.path / FILE, MAX_BYTES))
    except (OSError, ValueError):
        return None


def read_records(runs_dir: Path, most: int | None = None) -> list[MemoryRecord]:
    """The runs that have both figures, newest first, among the `most` newest (None: all)."""
    found = []
    for path in sorted(runs_dir.glob(f"*/{FILE}"), reverse=True)[:most]:
        try:
            prediction = Prediction.model_validate_json(read_bounded(path, MAX_BYTES))
            result = RunDirectory(path.parent).result()
        except (ValueError, Unreadable, OSError):
            continue
        if result is None or not result.steps:
            continue
        measured = result.peak_memory_bytes - prediction.baseline_bytes
        if measured > 0:
            found.append(MemoryRecord(path.parent.name, prediction, measured))
    return found


def used_records(records: Sequence[MemoryRecord], device: str) -> list[MemoryRecord]:
    """The records that margins are fitted to: of the device, and not of another kind (ALIKE)."""
    lowest, highest = ALIKE
    return [
        r
        for r in records
        if r.prediction.device == device
        and lowest
        <= r.measured_bytes / max(1, r.prediction.staying_bytes + r.prediction.moving_bytes)
        <= highest
    ]


def refit_margins(
    records: Sequence[MemoryRecord], device: str, margins: Margins = MARGINS
) -> Margins:
    """The margins under which the records of a device are met best; unchanged below LEAST_RUNS.

    Only records that `used_records` returns count, and no margin passes MOST_SHARE or
    MOST_OVERHEAD_GIB.

    Least squares of measured - (staying + moving) = overhead + fragmentation x moving, neither
    below zero. On CUDA the measured peak counts tensors alone: the overhead stays as stated.
    """
    import numpy as np

    fitting = used_records(records, device)
    if len(fitting) < LEAST_RUNS:
        return margins
    moving = np.array([r.prediction.moving_bytes for r in fitting]) / GIB
    staying = np.array([r.prediction.staying_bytes for r in fitting]) / GIB
    left = np.array([r.measured_bytes for r in fitting]) / GIB - staying - moving
    if device == "cuda":
        share = float(left @ moving / (moving @ moving))
        return replace(margins, fragmentation=min(MOST_SHARE, max(0.0, share)))
    share = margins.cpu_fragmentation
    if np.ptp(moving) > LEAST_SPREAD * moving.mean():  # alike runs tell no slope
        centred = moving - moving.mean()
        share = min(MOST_SHARE, max(0.0, float(centred @ left / (centred @ centred))))
    overhead = min(MOST_OVERHEAD_GIB, max(0.0, float((left - share * moving).mean())))
    return replace(margins, cpu_fragmentation=share, cpu_overhead_gib=overhead)
