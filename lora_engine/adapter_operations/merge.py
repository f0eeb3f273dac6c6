"""An adapter merged into its base: a model folder of 16- or 32-bit weights, with what it cost.

The folder is written beside its place, loaded again, compared with the base and the adapter, and
only then named: whole or not there. Where the adapter was trained on a quantized base there may be
two bases to merge into; each is written and measured, one is kept.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lora_engine.adapter_operations.merge_bases import MergeBases, merge_bases
from lora_engine.adapter_operations.merge_proof import (
    MergeProof,
    Unmerged,
    measure_merged,
    measure_unmerged,
    proof_rows,
)
from lora_engine.adapter_operations.merge_report import (
    MergedWeights,
    MergeOptions,
    MergeReport,
    Weights,
)
from lora_engine.adapter_operations.merged_model import MergedModelWriter, WrittenModel
from lora_engine.adapter_operations.model_folder import CONFIG_FILE, write_json
from lora_engine.adapter_operations.output_folder import output_folder, refuse_existing, refused
from lora_engine.adapter_operations.quantized_on_loading import quantized_layers
from lora_engine.adapters.check import AdapterCheck, check_adapter
from lora_engine.adapters.config import PROVENANCE_VERSION, read_provenance
from lora_engine.base_models import BaseModel
from lora_engine.base_models.finite_weights import refuse_non_finite
from lora_engine.base_models.weight_files import weight_files
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.files import given_path
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spectrum import ReportProgress, WorkMonitor, read_adapter

if TYPE_CHECKING:
    from torch import nn

PROVEN = (
    "dtype", "weights", "max_logit_difference", "kl", "base_loss", "unmerged_loss", "merged_loss",
    "rows", "rows_from", "positions", "variants", "untied",
)  # fmt: skip
"""What the model's provenance repeats of the report."""


def merge(
    adapter: Path,
    base: BaseModel,
    output: Path,
    settings: Settings,
    options: MergeOptions | None = None,
    *,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> MergeReport:
    """Write base + adapter as a model folder, and measure it.

    Raises Conflict for an output that exists; EngineError for an adapter that is not whole or not
    of this base, a part of it that has no place in the base, and where the disk refuses; Stopped.
    Nothing is left then.
    """
    options = options or MergeOptions()
    monitor = WorkMonitor(progress, stop)
    output = given_path(output).absolute()
    refuse_existing(output, CONFIG_FILE, options.overwrite)
    monitor.step(0.0, tr("checking the adapter"))
    bases = merge_bases(adapter, base, options.original)
    kept = bases.chosen(options.weights)
    check = check_adapter(adapter, bases.base)
    writer = MergedModelWriter(
        check, read_adapter(adapter), bases, options.dtype, options.shard_bytes
    )
    writer.plan(kept)  # what has no place is refused before anything is loaded
    others = [one for one in bases.possible if one != kept] if options.prove else []
    before, quantized = _before(check, bases, kept, options, settings, monitor.part(0.1, 0.4))
    measured: list[MergedWeights] = []
    for other in others:
        part = monitor.part(0.4, 0.6)
        with _scratch_folder(output) as scratch:
            writer.write(other, scratch, quantized, part.part(0.0, 0.5))
            proof = _proof(scratch, output.name, before, settings, part.part(0.5, 1.0))
        measured += [MergedWeights(other, False, proof)] if proof else []
    with output_folder(output, CONFIG_FILE, options.overwrite) as staging:
        written = writer.write(kept, staging, quantized, monitor.part(0.6, 0.85))
        proof = _proof(staging, output.name, before, settings, monitor.part(0.85, 1.0))
        if proof and others:
            measured.append(MergedWeights(kept, True, proof))
        report = _report(output, writer, kept, written, before, proof, measured)
        write_json(staging / "provenance.json", _provenance(check, bases, report))
        if options.readme:
            (staging / "README.md").write_text(options.readme, "utf-8")
    monitor.step(1.0, tr("done"))
    return report


def _before(
    check: AdapterCheck,
    bases: MergeBases,
    kept: Weights,
    options: MergeOptions,
    settings: Settings,
    monitor: WorkMonitor,
) -> tuple[Unmerged | None, Mapping[str, nn.Module]]:
    """Base and adapter over the rows, and the layers that were quantized on loading: whatever of
    the two the merge needs. The rest of the base is let go."""
    needs_layers = bases.on_loading is not None and (options.prove or kept == "dequantized")
    if not (options.prove or needs_layers):
        # Nothing is loaded, which would have asked.
        refuse_non_finite(bases.base.name, weight_files(bases.folder_of(kept)))
        return None, {}
    monitor.step(0.0, tr("loading the base"))
    shared = SharedBase.load(bases.base, settings, bases.on_loading)
    quantized = quantized_layers(shared.model) if needs_layers else {}
    unmerged = None
    if options.prove:
        rows = proof_rows(check.path, options.rows, settings)
        unmerged = measure_unmerged(shared, check.path, rows, monitor)
    del shared
    gc.collect()
    return unmerged, quantized


def _proof(
    folder: Path, name: str, before: Unmerged | None, settings: Settings, monitor: WorkMonitor
) -> MergeProof | None:
    """What was measured of a written model; None where nothing is to be compared with."""
    if before is None:
        return None
    monitor.step(0.0, tr("loading the merged model"))
    return measure_merged(folder, name, before, settings, monitor)


@contextmanager
def _scratch_folder(output: Path) -> Iterator[Path]:
    """A folder on the output's disk for a merge that is measured and not kept."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
            yield Path(scratch)
    except OSError as error:
        raise refused(output, error) from error


def _report(
    output: Path,
    writer: MergedModelWriter,
    kept: Weights,
    written: WrittenModel,
    before: Unmerged | None,
    proof: MergeProof | None,
    measured: list[MergedWeights],
) -> MergeReport:
    return MergeReport(
        path=output,
        base_fingerprint=writer.check.base_fingerprint,
        dtype=writer.dtype(),
        weights=kept,
        bytes=written.bytes,
        files=written.files,
        changed=written.changed,
        untied=written.untied,
        max_logit_difference=proof.max_logit_difference if proof else None,
        kl=proof.kl if proof else None,
        base_loss=before.base_loss if before else None,
        unmerged_loss=before.loss if before else None,
        merged_loss=proof.loss if proof else None,
        rows=len(before.rows) if before else 0,
        rows_from=before.rows_from if before else None,
        positions=before.positions if before else 0,
        variants=tuple(measured),
        notes=(*writer.check.warnings, *(before.notes if before else ()), *written.notes),
    )


def _provenance(check: AdapterCheck, bases: MergeBases, report: MergeReport) -> dict[str, Any]:
    """The adapter's own, and what was done."""
    kept = read_provenance(check.path) or {}
    document = report.to_json()
    return {
        "version": PROVENANCE_VERSION,
        **kept,
        "base_model": kept.get("base_model", bases.base.name),
        "base_fingerprint": report.base_fingerprint,
        "operation": {
            "kind": "merge",
            "sources": [{"name": check.path.name, "sha256": check.sha256}],
            **{key: document[key] for key in PROVEN},
        },
    }
