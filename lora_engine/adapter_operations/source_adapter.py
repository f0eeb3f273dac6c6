"""An adapter as operations take it: factors read module by module, written back in their form.

    delta_weight (out_features, in_features) = scaling * lora_B @ lora_A

A module is a list of such products: one, or one for each expert of a fused weight, all of one
rank. This module refuses what no operation on factors can honour; it does no arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lora_engine.adapter_operations.written_adapter import (
    INIT_FIELDS,
    AdapterWriter,
    item_bytes,
)
from lora_engine.adapters import content_hash, read_applicable_config, read_provenance
from lora_engine.adapters.config import CONFIG_FILE, PROVENANCE_VERSION
from lora_engine.adapters.weights_keys import factor_keys
from lora_engine.errors import EngineError
from lora_engine.files import read_json_object
from lora_engine.language import tr
from lora_engine.spectrum import AdapterFile, Factors, open_adapter
from lora_engine.weights.safetensors_file import TensorEntry


@dataclass(frozen=True, eq=False)
class SourceAdapter:
    """An adapter to work on. document: its configuration as the file has it."""

    stored: AdapterFile
    document: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @property
    def path(self) -> Path:
        return self.stored.path

    @property
    def name(self) -> str:
        """The folder's name, or its run's."""
        return self.path.parent.name if self.path.name == "adapter" else self.path.name

    def module_name(self, holder: str) -> str:
        """The full name under which PEFT's patterns find the module, or its fused parameter."""
        return self.stored.keys.named(holder)

    def dtype(self, holder: str) -> str:
        """The wider safetensors dtype of the module's two factors."""
        keys = factor_keys(self.stored.keys.factors[holder])
        return max((self.stored.file.tensors[key].dtype for key in keys), key=item_bytes)

    def factors(self, holder: str) -> list[Factors]:
        """scaling * B and A in float32, of each expert. Raises EngineError as `read_adapter`."""
        return [
            Factors(module.lora_B * np.float64(module.scaling), module.lora_A)
            for module in self.stored.read(holder)
        ]

    def entries(self, holder: str) -> tuple[TensorEntry, TensorEntry]:
        """The stored A and B."""
        key_a, key_b = factor_keys(self.stored.keys.factors[holder])
        return self.stored.file.tensors[key_a], self.stored.file.tensors[key_b]

    def other_keys(self) -> list[str]:
        """The tensors that are no factors: biases of B, modules saved whole, embeddings."""
        factors = {key for parts in self.stored.keys.factors.values() for key in factor_keys(parts)}
        return [key for key in self.stored.file.tensors if key not in factors]

    def identity(self) -> dict[str, Any]:
        """What an output's provenance says of this source."""
        found: dict[str, Any] = {"name": self.name, "sha256": content_hash(self.path)}
        if isinstance(self.provenance.get("run"), str):
            found["run"] = self.provenance["run"]
        return found


def open_source(path: Path) -> SourceAdapter:
    """Read what is known of an adapter before its factors are.

    Raises NotFound and EngineError as `read_applicable_config` and `open_adapter`; EngineError for
    DoRA, whose update is no product of its factors.
    """
    config = read_applicable_config(path)
    if config.use_dora:
        raise EngineError(
            tr(
                "{path} uses DoRA: its update depends on the base weight and a magnitude a "
                "row, so its factors alone can be neither truncated nor added.",
                path=path,
            ),
            tr("Merge it into its base, then extract an adapter from the merged model."),
        )
    stored = open_adapter(path)
    return SourceAdapter(stored, read_json_object(path / CONFIG_FILE), read_provenance(path) or {})


def write_factors(
    writer: AdapterWriter, entries: Sequence[TensorEntry], parts: Sequence[Factors], dtype: str
) -> list[Factors]:
    """Write a module's factors, lora_B = left and lora_A = right, in the form of `entries`.

    entries: the A and the B whose names and further dimensions (a convolution's kernel) stay. The
    experts of a fused weight lie in A expert by expert and in B rank by rank, as PEFT takes them.
    Returns the factors as they were rounded.
    """
    of_a, of_b = entries
    rank, experts = parts[0].right.shape[0], len(parts)
    lora_A = np.concatenate([part.right for part in parts], axis=0)
    lora_B = np.stack([part.left for part in parts], axis=2).reshape(-1, rank * experts)
    written_a = writer.add(
        of_a.name, lora_A.reshape(rank * experts, *of_a.shape[1:]), dtype
    ).reshape(experts, rank, -1)
    written_b = writer.add(
        of_b.name, lora_B.reshape(of_b.shape[0], rank * experts, *of_b.shape[2:]), dtype
    ).reshape(-1, rank, experts)
    return [Factors(written_b[:, :, e], written_a[e]) for e in range(experts)]


def written_config(source: SourceAdapter, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The source's configuration with `changes`; the start of its training is past.

    A start such as `orthogonal` would also be computed again when PEFT loads the adapter, at a
    rank that it may not take.
    """
    kept = {key: value for key, value in source.document.items() if key not in INIT_FIELDS}
    return {**kept, "init_lora_weights": True, **changes}


def written_provenance(base: Mapping[str, Any], operation: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance of an output: the source's, and what was done."""
    return {"version": PROVENANCE_VERSION, **base, "operation": dict(operation)}
