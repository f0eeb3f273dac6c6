"""An adapter merged into its base: a model folder of 16- or 32-bit weights, with what it cost.

The base's safetensors are read, changed and written a block at a time. The folder is written beside
its place, loaded again, compared with the base and the adapter, and only then named: whole or not
there. Where the adapter was trained on a quantized base there are two bases to merge into, the
weights as they were rounded and the original ones; each is written and measured, one is kept.
"""

from __future__ import annotations

import gc
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lora_engine.adapter_operations.merge_plan import MergePlan, plan_merge
from lora_engine.adapter_operations.merge_proof import (
    MergeProof,
    ProofRows,
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
from lora_engine.adapter_operations.merged_tensors import BITS_OF
from lora_engine.adapter_operations.model_folder import (
    CONFIG_FILE,
    DTYPE_KEYS,
    merged_config,
    read_config_document,
    write_beside,
    write_json,
)
from lora_engine.adapter_operations.output_folder import output_folder, refuse_existing
from lora_engine.adapter_operations.quantized_on_loading import (
    QuantizedOnLoading,
    quantized_layers,
)
from lora_engine.adapter_operations.sharded_weights import write_shards
from lora_engine.adapter_operations.stored_names import ModelNames
from lora_engine.adapter_operations.stored_weights import StoredWeights
from lora_engine.adapters.check import AdapterCheck, check_adapter
from lora_engine.adapters.config import PROVENANCE_VERSION, read_provenance
from lora_engine.base_models import BaseModel, load_tokenizer, stored_quantization
from lora_engine.base_models.weight_files import local_folder
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.compare.prompts import training_spec_of
from lora_engine.data.templates import chat_template_of
from lora_engine.errors import EngineError
from lora_engine.settings import Settings
from lora_engine.spec import QuantizationSpec
from lora_engine.spectrum import Adapter, ReportProgress, WorkMonitor, read_adapter


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
    output = output.expanduser().absolute()
    refuse_existing(output, CONFIG_FILE, options.overwrite)
    work = _Merge.prepared(adapter, base, output, settings, options, monitor.part(0.0, 0.1))
    return work.run(monitor)


@dataclass
class _Merge:
    """One merge under way. folder: the base's. choices: the weights to merge into, kept one last.
    quantization: of the run, where its base was quantized on loading."""

    check: AdapterCheck
    adapter: Adapter
    base: BaseModel
    folder: Path
    output: Path
    settings: Settings
    options: MergeOptions
    quantization: QuantizationSpec | None
    choices: list[Weights]
    layers: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def prepared(
        cls,
        adapter: Path,
        base: BaseModel,
        output: Path,
        settings: Settings,
        options: MergeOptions,
        monitor: WorkMonitor,
    ) -> _Merge:
        """Check all that can be checked before anything is loaded."""
        folder = local_folder(base)
        if folder is None:
            raise EngineError(
                f"The weights of {base.name!r} are not in the local model cache.",
                "Load the model once while online.",
            )
        monitor.step(0.0, "checking the adapter")
        local = BaseModel(base.name, folder)
        check, stored = check_adapter(adapter, local), stored_quantization(local)
        quantization = None if stored is not None else _trained_in(adapter)
        choices = _choices(stored is not None, quantization is not None, options)
        work = cls(
            check, read_adapter(adapter), local, folder, output, settings, options, quantization,
            choices,
        )  # fmt: skip
        work._plan(StoredWeights(work._folder_of(choices[-1])))  # what has no place is refused now
        return work

    def run(self, monitor: WorkMonitor) -> MergeReport:
        rows, unmerged = self._unmerged(monitor.part(0.1, 0.4))
        measured = [
            self._measured_and_left(choice, unmerged, monitor.part(0.4, 0.5))
            for choice in self.choices[:-1]
        ]
        kept = self.choices[-1]
        with output_folder(self.output, CONFIG_FILE, self.options.overwrite) as staging:
            plan, files, size = self._write(kept, staging, monitor.part(0.5, 0.9))
            monitor.step(0.9, "loading the merged model")
            proof = self._proof(staging, unmerged) if unmerged else None
            if proof is not None and len(self.choices) > 1:
                measured.append(MergedWeights(kept, True, proof))
            report = MergeReport(
                path=self.output,
                base_fingerprint=self.check.base_fingerprint,
                dtype=self._main_dtype(),
                weights=kept,
                bytes=size,
                files=files,
                changed=plan.changed,
                untied=plan.untied,
                max_logit_difference=proof.max_logit_difference if proof else None,
                kl=proof.kl if proof else None,
                base_loss=unmerged.base_loss if unmerged else None,
                unmerged_loss=unmerged.loss if unmerged else None,
                merged_loss=proof.loss if proof else None,
                rows=len(unmerged.rows) if unmerged else 0,
                rows_from=rows.source if rows else None,
                positions=unmerged.positions if unmerged else 0,
                variants=tuple(measured),
                notes=(*self.check.warnings, *self.notes),
            )
            write_json(staging / "provenance.json", self._provenance(report))
        monitor.step(1.0, "done")
        return report

    def _unmerged(self, monitor: WorkMonitor) -> tuple[ProofRows | None, Unmerged | None]:
        """Base and adapter over the rows; keeps the quantized layers where they are merged into."""
        if not self.options.prove and "dequantized" not in self.choices:
            return None, None
        monitor.step(0.0, "loading the base")
        shared = SharedBase.load(self.base, self.settings, self.quantization)
        if self.quantization is not None:
            self.layers = quantized_layers(shared.model)
        if not self.options.prove:
            return None, None
        rows = proof_rows(self.check.path, self.options.rows, self.settings)
        self.notes += rows.notes
        unmerged = measure_unmerged(shared, self.check.path, rows.rows, monitor)
        del shared
        gc.collect()
        return rows, unmerged

    def _write(
        self, choice: Weights, folder: Path, monitor: WorkMonitor
    ) -> tuple[MergePlan, tuple[str, ...], int]:
        """Write a whole model folder. Returns its plan, its weight files and their bytes."""
        source = self._folder_of(choice)
        weights = StoredWeights(source)
        if choice == "dequantized" and self.quantization is not None:
            names = ModelNames.of(BaseModel(self.base.name, source), weights.tensors)
            weights = QuantizedOnLoading(source, names, self.layers)
        plan = self._plan(weights)
        needed = sum(tensor.size_bytes for tensor in plan.tensors)
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise EngineError(
                f"The merged weights need {needed / 1e9:,.2f} GB, and the disk of {folder.parent} "
                f"has {free / 1e9:,.2f} GB left.",
                "Free space on that disk, or choose another folder for the output.",
            )
        written = write_shards(folder, plan.tensors, self.options.shard_bytes, monitor)
        notes = write_beside(self.folder, self.check.path, folder, self._template())
        self.notes += [note for note in notes if note not in self.notes]
        config = merged_config(read_config_document(source), self._main_dtype(), plan.untied)
        write_json(folder / CONFIG_FILE, config)
        return plan, written.files, written.total_bytes

    def _proof(self, folder: Path, unmerged: Unmerged | None) -> MergeProof:
        assert unmerged is not None
        silent = WorkMonitor()
        return measure_merged(folder, self.output.name, unmerged, self.settings, silent)

    def _measured_and_left(
        self, choice: Weights, unmerged: Unmerged | None, monitor: WorkMonitor
    ) -> MergedWeights:
        """Write a merge beside the output, measure it, and take it away again."""
        try:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(
                dir=self.output.parent, prefix=f".{self.output.name}."
            ) as scratch:
                self._write(choice, Path(scratch), monitor)
                return MergedWeights(choice, False, self._proof(Path(scratch), unmerged))
        except OSError as error:
            raise EngineError(
                f"{self.output} could not be written: {error.strerror or error}.",
                "Free space on that disk, or choose another folder for the output.",
            ) from error

    def _plan(self, weights: StoredWeights) -> MergePlan:
        names = ModelNames.of(self.base, weights.tensors)
        code = None if self.options.dtype is None else BITS_OF[self.options.dtype]
        main = BITS_OF[self._main_dtype()]
        return plan_merge(self.adapter, self.check, weights, names, code, main)

    def _folder_of(self, choice: Weights) -> Path:
        """Where the weights lie that are merged into."""
        if choice == "original" and self.options.original is not None:
            folder = local_folder(self.options.original)
            assert folder is not None  # it was asked when the options were checked
            return folder
        return self.folder

    def _main_dtype(self) -> str:
        """What config.json says: as asked, else as the base's says, else bfloat16."""
        if self.options.dtype is not None:
            return self.options.dtype
        config = read_config_document(self.folder)
        nested = config.get("text_config")
        for part in (config, nested if isinstance(nested, dict) else {}):
            for key in DTYPE_KEYS:
                if part.get(key) in BITS_OF:
                    return str(part[key])
        return "bfloat16"

    def _template(self) -> str | None:
        """The template of the rows where the base has none and the run wrote them with one."""
        provenance = read_provenance(self.check.path) or {}
        if not provenance.get("chat_template"):
            return None
        return chat_template_of(load_tokenizer(self.base)).source

    def _provenance(self, report: MergeReport) -> dict[str, Any]:
        """The adapter's own, and what was done."""
        kept = read_provenance(self.check.path) or {}
        document = report.to_json()
        told = ("dtype", "weights", "max_logit_difference", "kl", "base_loss", "unmerged_loss",
                "merged_loss", "rows", "rows_from", "positions", "variants", "untied")  # fmt: skip
        return {
            "version": PROVENANCE_VERSION,
            **kept,
            "base_model": kept.get("base_model", self.base.name),
            "base_fingerprint": report.base_fingerprint,
            "operation": {
                "kind": "merge",
                "sources": [{"name": self.check.path.name, "sha256": self.check.sha256}],
                **{key: document[key] for key in told},
            },
        }


def _trained_in(adapter: Path) -> QuantizationSpec | None:
    """The bits that a run quantized its base to on loading; None where it is not known."""
    try:
        return training_spec_of(adapter).quantization
    except EngineError:
        return None


def _choices(stored: bool, on_loading: bool, options: MergeOptions) -> list[Weights]:
    """The weights that can be merged into, the ones to keep last."""
    if options.original is not None:
        if not stored:
            raise EngineError(
                "An original model is given, and the base is not stored quantized.",
                "Leave the original out: the base's own weights are the original ones.",
            )
        folder = local_folder(options.original)
        if folder is None or stored_quantization(BaseModel("original", folder)) is not None:
            raise EngineError(
                f"{options.original.name!r} is no 16- or 32-bit model here.",
                "Give the model that the quantized base was made from.",
            )
    possible: list[Weights] = ["dequantized"] if stored or on_loading else ["original"]
    if on_loading or options.original is not None:
        possible.append("original")
    chosen = options.weights or possible[0]
    if chosen not in possible:
        raise EngineError(
            f"The weights {chosen!r} are not there; {' and '.join(possible)} can be merged into.",
            "Give the 16-bit model that the base was made from as the original."
            if chosen == "original"
            else "Only an adapter that was trained on quantized weights has such.",
        )
    others = [one for one in possible if one != chosen] if options.prove else []
    return [*others, chosen]
