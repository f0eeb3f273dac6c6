"""An adapter extracted from a fully fine-tuned model: what changed, as factors of low rank.

    delta_weight = W_tuned - W_base = U diag(sigma) V^T
    lora_B = U sqrt(sigma),  lora_A = sqrt(sigma) V^T

with scaling 1. No other update of that rank is nearer (Eckart-Young). Both files are read in
blocks, one matrix at a time. Directions that are no more than the rounding of 16-bit checkpoints
are not counted where a share of energy is asked for. Measures no loss.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lora_engine.adapter_operations.extract_plan import (
    ChangedMatrix,
    ExtractPlan,
    plan_extraction,
)
from lora_engine.adapter_operations.extraction_losses import ExtractionLosses
from lora_engine.adapter_operations.output_folder import refuse_existing
from lora_engine.adapter_operations.resize import ResizeTarget, ToRank
from lora_engine.adapter_operations.written_adapter import (
    AdapterWriter,
    ModuleScale,
    scale_fields,
    written_adapter,
)
from lora_engine.adapters.config import CONFIG_FILE, PROVENANCE_VERSION, WEIGHTS_FILE
from lora_engine.adapters.weights_keys import PREFIX
from lora_engine.base_models import BaseModel, fingerprint
from lora_engine.base_models.weight_files import local_folder
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.errors import EngineError
from lora_engine.files import given_path
from lora_engine.language import tr
from lora_engine.spectrum import DifferenceSource, ReportProgress, WorkMonitor, decompose
from lora_engine.spectrum.decomposition import Decomposition
from lora_engine.spectrum.storage_noise import rounding_noise
from lora_engine.weights.checkpoint import Checkpoint, open_checkpoint

DTYPE = "F32"


@dataclass(frozen=True)
class ExtractedModule:
    """One matrix as factors. energy: kept share of its sum of sigma^2. error: Frobenius norm of
    what was left out. noise_edge: no direction of mere rounding is above it; None where the files'
    numbers are finer than 16 bits."""

    name: str
    shape: tuple[int, int]
    rank: int
    energy: float
    error: float
    noise_edge: float | None


@dataclass(frozen=True)
class ExtractReport:
    """A written adapter. whole: parameters that go along as they are. energy and error: of all
    factored matrices together. losses: None where they were not measured; notes say why not."""

    path: Path
    modules: tuple[ExtractedModule, ...]
    whole: tuple[str, ...]
    energy: float
    error: float
    bytes: int
    losses: ExtractionLosses | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path), "modules": [*map(asdict, self.modules)]}


def extract(
    base: BaseModel,
    tuned: Path,
    output: Path,
    target: ResizeTarget,
    *,
    overwrite: bool = False,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> ExtractReport:
    """Write what was trained between a base and a model fine-tuned from it as an adapter.

    Linear layers, Conv1D and embeddings become factors; biases of adapted layers become lora_bias;
    norms, and matrices whose factors would be no smaller than they are, are saved whole.
    Raises EngineError for checkpoints of two models, a resized vocabulary, changed experts, and
    two that are the same; Conflict for an output that exists; Stopped.
    """
    target.check()
    folder = local_folder(base)
    if folder is None:
        raise EngineError(
            tr("{name} is not on this machine.", name=f"{base.name!r}"),
            tr("Give the base's folder."),
        )
    output = given_path(output).absolute()
    refuse_existing(output, CONFIG_FILE, overwrite)
    first, second = open_checkpoint(folder), open_checkpoint(tuned)
    plan = plan_extraction(base, first, second)
    if not (plan.matrices or plan.biases or plan.whole):
        raise EngineError(
            tr("{tuned} holds the same weights as {name}.", tuned=tuned, name=f"{base.name!r}"),
            tr("Give the tuned model."),
        )
    monitor = WorkMonitor(progress, stop)
    keys = [*_keys(plan), *(PREFIX + parameter for parameter in plan.stored)]
    with written_adapter(output, keys, overwrite) as writer:
        done = _write_factors(writer, plan, first, second, target, monitor)
        if not done:
            raise EngineError(
                tr(
                    "Nothing that changed can be held at low rank, so this would be no LoRA "
                    "adapter."
                ),
                tr("Keep the tuned model as it is, or give a smaller rank."),
            )
        whole = plan.whole_modules()
        for parameter, name in whole.items():
            writer.copy(second.file_of(name), name, PREFIX + parameter)
        report = _report(output, done, plan)
        writer.finish(_config(base, plan, done), _provenance(base, tuned, target, report))
        size = (writer.folder / WEIGHTS_FILE).stat().st_size
    return replace(report, bytes=size)


def _keys(plan: ExtractPlan) -> list[str]:
    parts = ("lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_embedding_A")
    return [f"{PREFIX}{one.module}.{part}" for one in plan.matrices for part in parts]


def _write_factors(
    writer: AdapterWriter,
    plan: ExtractPlan,
    base: Checkpoint,
    tuned: Checkpoint,
    target: ResizeTarget,
    monitor: WorkMonitor,
) -> list[tuple[ExtractedModule, float]]:
    """Write each matrix; what became of it, and the sum of its sigma^2."""
    done: list[tuple[ExtractedModule, float]] = []
    matrices = list(plan.matrices)
    for number, matrix in enumerate(matrices):
        part = monitor.part(number / len(matrices), (number + 1) / len(matrices))
        part.step(0.0, tr("taking {module} apart", module=matrix.module))
        difference = DifferenceSource(base.matrix(matrix.base), tuned.matrix(matrix.tuned))
        rank, found = _at_rank(difference, target, monitor.stop)
        rows, columns = difference.shape
        if not isinstance(target, ToRank) and rank * (rows + columns) >= rows * columns:
            plan.save_whole(matrix)
            continue
        outputs = columns if matrix.layer == "conv1d" else rows
        bias = _bias_change(plan, matrix, outputs, base, tuned)
        _write_module(writer, matrix, found, rank, bias)
        kept = float(np.square(found.singular_values[:rank]).sum())
        dropped = max(0.0, found.total_squared - kept)
        done.append(
            (
                ExtractedModule(
                    name=matrix.module,
                    shape=(rows, columns),
                    rank=rank,
                    energy=min(1.0, kept / found.total_squared),
                    error=math.sqrt(dropped),
                    noise_edge=found.noise.edge if found.noise else None,
                ),
                found.total_squared,
            )
        )
    return done


def _at_rank(
    difference: DifferenceSource, target: ResizeTarget, stop: StopSignal
) -> tuple[int, Decomposition]:
    """The rank for the target, and the decomposition with that many vectors."""
    smaller = min(difference.shape)
    noise = rounding_noise([difference.base, difference.tuned])
    if isinstance(target, ToRank):
        rank = min(target.rank, smaller)
    else:
        values = decompose(difference, vectors=0, stop=stop).singular_values
        rank = max(1, min(target.rank_for([values]), smaller))
        if noise is not None:
            rank = min(rank, max(1, int((values > noise.edge).sum())))
    found = decompose(difference, vectors=rank, stop=stop)
    return min(rank, found.left.shape[1]), replace(found, noise=noise)


def _bias_change(
    plan: ExtractPlan, matrix: ChangedMatrix, rows: int, base: Checkpoint, tuned: Checkpoint
) -> np.ndarray | None:
    """The bias of lora_B; PEFT wants one for every module where there is any."""
    if matrix.module not in plan.biases:
        return np.zeros(rows) if plan.biases else None
    ours, theirs = plan.biases[matrix.module]
    return tuned.tensor(theirs).astype(np.float64) - base.tensor(ours)


def _write_module(
    writer: AdapterWriter,
    matrix: ChangedMatrix,
    found: Decomposition,
    rank: int,
    bias: np.ndarray | None,
) -> None:
    root = np.sqrt(found.singular_values[:rank])
    left, right = found.left[:, :rank] * root, found.right[:, :rank] * root
    key = f"{PREFIX}{matrix.module}"
    if matrix.layer == "embedding":  # (vocabulary, width) = (B A)^T
        writer.add(f"{key}.lora_embedding_A", left.T, DTYPE)
        writer.add(f"{key}.lora_embedding_B", right, DTYPE)
        return
    out, into = (right, left) if matrix.layer == "conv1d" else (left, right)
    writer.add(f"{key}.lora_A.weight", into.T, DTYPE)
    writer.add(f"{key}.lora_B.weight", out, DTYPE)
    if bias is not None:
        writer.add(f"{key}.lora_B.bias", bias, DTYPE)


def _report(
    output: Path, done: list[tuple[ExtractedModule, float]], plan: ExtractPlan
) -> ExtractReport:
    total = math.fsum(squared for _, squared in done)
    error = math.sqrt(math.fsum(one.error**2 for one, _ in done))
    return ExtractReport(
        path=output,
        modules=tuple(one for one, _ in done),
        whole=tuple(plan.whole),
        energy=1.0 - error**2 / total,
        error=error,
        bytes=0,
    )


def _config(
    base: BaseModel, plan: ExtractPlan, done: list[tuple[ExtractedModule, float]]
) -> dict[str, Any]:
    scales = {one.name: ModuleScale(one.rank, 1.0) for one, _ in done}
    layers = {matrix.module: matrix.layer for matrix in plan.matrices}
    whole = list(dict.fromkeys(parameter.rpartition(".")[0] for parameter in plan.whole))
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.source,
        "target_modules": list(scales),
        "modules_to_save": whole or None,
        "fan_in_fan_out": "conv1d" in layers.values(),
        "lora_bias": bool(plan.biases),
        "bias": "none",
        "lora_dropout": 0.0,
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "inference_mode": True,
        **scale_fields(scales, False),
    }


def _provenance(
    base: BaseModel, tuned: Path, target: ResizeTarget, report: ExtractReport
) -> dict[str, Any]:
    return {
        "version": PROVENANCE_VERSION,
        "base_model": base.name,
        "base_fingerprint": fingerprint(base),
        "operation": {
            "kind": "extract",
            "tuned": str(tuned),
            "target": {"kind": type(target).__name__, **asdict(target)},
            "energy": report.energy,
            "error": report.error,
        },
    }
