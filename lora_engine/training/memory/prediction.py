"""A run's predicted memory beside its measured one, and margins refitted from both.

The worker writes `prediction.json` before it loads the model, and the peak at its end into
`result.json`; here both are read back. What no shape tells (allocator, threads' buffers) is fitted
to the runs by least squares. Knows nothing of how a run trains.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from lora_engine.calculator.memory import MARGINS, STAYING, estimate_memory
from lora_engine.calculator.memory_request import GIB, Margins, MemoryEstimate, MemoryQuestion
from lora_engine.calculator.model_source import path_source
from lora_engine.calculator.run_spec import choice_of
from lora_engine.errors import Unreadable
from lora_engine.run_folder import RunDirectory
from lora_engine.spec import RunSpec

FILE = "prediction.json"
MARGIN_ITEMS = ("fragmentation", "CPU overhead", "loading")
LEAST_SPREAD = 0.5
LEAST_RUNS = 3  # below this the stated margins stay


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


def heaviest_batch(lengths: Sequence[int], batch_size: int, steps: int) -> int:
    """Tokens of the largest of `steps` random batches of rows of these lengths.

    B mean + sqrt(2 ln steps) sd sqrt(B), the size that the largest of so many normal values
    nears from below; never more than the B longest rows.
    """
    drawn = min(batch_size, len(lengths))
    longest = sum(sorted(lengths)[-drawn:])
    spread = statistics.pstdev(lengths) * math.sqrt(drawn * 2 * math.log(max(1, steps)))
    return max(1, min(longest, round(drawn * statistics.fmean(lengths) + spread)))


def question_of(
    spec: RunSpec, folder: Path, device: str, dtype: str, batch_tokens: int, supervised: float
) -> MemoryQuestion:
    """What a run asks of the memory. dtype: float32 or bfloat16; supervised: share of tokens.

    The rows of a batch lie end to end, so the batch is one row of all its tokens.
    """
    method, optimization = spec.method.finetuning_type, spec.optimization
    return MemoryQuestion(
        path_source(folder),
        choice_of(spec.method),
        method=method if spec.quantization is None else "qlora",
        optimizer="galore" if method == "galore" else optimization.optimizer,
        gradient_checkpointing=optimization.gradient_checkpointing,
        freeze_layers=spec.method.freeze_layers,
        batch_size=1,
        seq_length=batch_tokens,
        dtype="bf16" if dtype == "bfloat16" else "fp32",
        gradient_accumulation=optimization.gradient_accumulation,
        double_quantization=spec.quantization is None or spec.quantization.double,
        supervised_fraction=max(1e-6, min(1.0, supervised)),
        device="cuda" if device == "cuda" else "cpu",
        checkpoint_bytes=sum(path.stat().st_size for path in folder.glob("*.safetensors")),
    )


def predict(
    question: MemoryQuestion, baseline_bytes: int, margins: Margins = MARGINS
) -> Prediction:
    """The prediction for a question. Raises as `count_model` does."""
    estimate = estimate_memory(question, margins)
    staying, moving, margin = parts_of(estimate)
    return Prediction(
        device=question.device,
        baseline_bytes=baseline_bytes,
        staying_bytes=round(staying * GIB),
        moving_bytes=round(moving * GIB),
        margin_bytes=round(margin * GIB),
        batch_tokens=question.tokens,
    )


def parts_of(estimate: MemoryEstimate) -> tuple[float, float, float]:
    """GiB that stay, that come and go, and of margins other than the CUDA context."""
    staying = sum(item.gib for item in estimate.items if item.name in STAYING)
    margin = sum(i.gib for i in estimate.items if i.name in MARGIN_ITEMS)
    total = estimate.total_gib - sum(i.gib for i in estimate.items if i.name == "CUDA context")
    return staying, total - staying - margin, margin


def read_records(runs_dir: Path, most: int | None = None) -> list[MemoryRecord]:
    """The runs that have both figures, newest first, among the `most` newest (None: all)."""
    found = []
    for path in sorted(runs_dir.glob(f"*/{FILE}"), reverse=True)[:most]:
        try:
            prediction = Prediction.model_validate_json(path.read_bytes())
            result = RunDirectory(path.parent).result()
        except (ValidationError, Unreadable, OSError):
            continue
        if result is None or not result.steps:
            continue
        measured = result.peak_memory_bytes - prediction.baseline_bytes
        if measured > 0:
            found.append(MemoryRecord(path.parent.name, prediction, measured))
    return found


def refit_margins(
    records: Sequence[MemoryRecord], device: str, margins: Margins = MARGINS
) -> Margins:
    """The margins under which the records of a device are met best; unchanged below LEAST_RUNS.

    Least squares of measured - (staying + moving) = overhead + fragmentation x moving, neither
    below zero. On CUDA the measured peak counts tensors alone: the overhead stays as stated.
    """
    import numpy as np

    fitting = [r for r in records if r.prediction.device == device]
    if len(fitting) < LEAST_RUNS:
        return margins
    moving = np.array([r.prediction.moving_bytes for r in fitting]) / GIB
    staying = np.array([r.prediction.staying_bytes for r in fitting]) / GIB
    left = np.array([r.measured_bytes for r in fitting]) / GIB - staying - moving
    if device == "cuda":
        share = float(left @ moving / (moving @ moving))
        return replace(margins, fragmentation=max(0.0, share))
    share = margins.cpu_fragmentation
    if np.ptp(moving) > LEAST_SPREAD * moving.mean():  # alike runs tell no slope
        centred = moving - moving.mean()
        share = max(0.0, float(centred @ left / (centred @ centred)))
    overhead = max(0.0, float((left - share * moving).mean()))
    return replace(margins, cpu_fragmentation=share, cpu_overhead_gib=overhead)
