"""A whole model folder of one merge: weights, configuration, and what stands beside them.

The base's safetensors are read, changed and written a block at a time. Knows nothing of losses,
and nothing of where the folder will be.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.adapter_operations.merge_bases import MergeBases
from lora_engine.adapter_operations.merge_plan import MergePlan, plan_merge
from lora_engine.adapter_operations.merge_report import DType, Weights
from lora_engine.adapter_operations.merged_tensors import BITS_OF
from lora_engine.adapter_operations.model_folder import (
    CONFIG_FILE,
    DTYPE_KEYS,
    merged_config,
    read_config_document,
    write_beside,
    write_json,
)
from lora_engine.adapter_operations.quantized_on_loading import QuantizedOnLoading
from lora_engine.adapter_operations.sharded_weights import write_shards
from lora_engine.adapter_operations.stored_weights import StoredWeights
from lora_engine.adapters.check import AdapterCheck
from lora_engine.adapters.config import read_provenance
from lora_engine.base_models import load_tokenizer
from lora_engine.base_models.stored_names import ModelNames
from lora_engine.data.templates import chat_template_of
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum import Adapter, WorkMonitor

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class WrittenModel:
    """What was written: its weight files and their bytes, the tensors that changed, and notes.

    untied: embedding and head are two weights, and were one in the base.
    """

    files: tuple[str, ...]
    bytes: int
    changed: tuple[str, ...]
    untied: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class MergedModelWriter:
    """Writes an adapter merged into one of its bases. asked_dtype: None keeps the base's types."""

    check: AdapterCheck
    adapter: Adapter
    bases: MergeBases
    asked_dtype: DType | None
    shard_bytes: int

    def dtype(self) -> str:
        """What config.json says: as asked, else as the base's says, else bfloat16."""
        if self.asked_dtype is not None:
            return self.asked_dtype
        config = read_config_document(self.bases.folder)
        nested = config.get("text_config")
        for part in (config, nested if isinstance(nested, dict) else {}):
            for key in DTYPE_KEYS:
                if part.get(key) in BITS_OF:
                    return str(part[key])
        return "bfloat16"

    def plan(self, weights: Weights) -> MergePlan:
        """The tensors to write. Raises EngineError for a part of the adapter without a place."""
        return self._plan(StoredWeights(self.bases.folder_of(weights)))

    def write(
        self,
        weights: Weights,
        folder: Path,
        quantized: Mapping[str, nn.Module],
        monitor: WorkMonitor,
    ) -> WrittenModel:
        """Fill an empty folder. quantized: the layers of a base that was quantized on loading.

        Raises OSError as the disk does, EngineError where it has no room or a number does not fit
        its type; Stopped.
        """
        source = self.bases.folder_of(weights)
        plan = self._plan(self._stored(weights, source, quantized))
        _refuse_small_disk(folder, plan)
        written = write_shards(folder, plan.tensors, self.shard_bytes, monitor)
        notes = write_beside(self.bases.folder, self.check.path, folder, self._template())
        config = merged_config(read_config_document(source), self.dtype(), plan.untied)
        write_json(folder / CONFIG_FILE, config)
        return WrittenModel(written.files, written.total_bytes, plan.changed, plan.untied, notes)

    def _stored(
        self, weights: Weights, source: Path, quantized: Mapping[str, nn.Module]
    ) -> StoredWeights:
        found = StoredWeights(source)
        if weights == "original" or self.bases.on_loading is None:
            return found
        return QuantizedOnLoading(source, ModelNames.of(self.bases.base, found.tensors), quantized)

    def _plan(self, weights: StoredWeights) -> MergePlan:
        names = ModelNames.of(self.bases.base, weights.tensors)
        code = None if self.asked_dtype is None else BITS_OF[self.asked_dtype]
        return plan_merge(self.adapter, self.check, weights, names, code, BITS_OF[self.dtype()])

    def _template(self) -> str | None:
        """The template of the rows where the base has none and the run wrote them with one."""
        provenance = read_provenance(self.check.path) or {}
        if not provenance.get("chat_template"):
            return None
        return chat_template_of(load_tokenizer(self.bases.base)).source


def _refuse_small_disk(folder: Path, plan: MergePlan) -> None:
    needed = sum(tensor.size_bytes for tensor in plan.tensors)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise EngineError(
            tr(
                "The merged weights need {needed} GB, and the disk of {parent} has {free} GB left.",
                needed=f"{needed / 1000000000.0:,.2f}",
                parent=folder.parent,
                free=f"{free / 1000000000.0:,.2f}",
            ),
            tr("Free space on that disk, or choose another folder for the output."),
        )
