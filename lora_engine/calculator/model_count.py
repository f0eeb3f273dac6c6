"""What a count of a model holds: its adapted modules, and the tables made of them.

Plain data, as PEFT's counts left it; `count_parameters.py` makes it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from lora_engine.calculator.repeated_layers import kind_of, natural_order
from lora_engine.spec import MethodSpec


@dataclass(frozen=True)
class ModuleCount:
    """One adapted module: a weight (out_features, in_features) with factors of `rank`.

    experts: how many such weights are fused into one parameter (else 1); parameters: what PEFT
    trains here, DoRA's magnitude and lora_bias included; shapes: of the tensors they are in.
    """

    name: str
    in_features: int
    out_features: int
    rank: int
    parameters: int
    experts: int = 1
    shapes: tuple[tuple[int, ...], ...] = ()

    def to_json(self) -> dict[str, Any]:
        listed = {
            "name": self.name,
            "in_features": self.in_features,
            "out_features": self.out_features,
            "rank": self.rank,
            "parameters": self.parameters,
        }
        return listed if self.experts == 1 else listed | {"experts": self.experts}


@dataclass(frozen=True)
class SavedModule:
    """A module of modules_to_save: trained whole, as a copy beside the frozen one."""

    name: str
    parameters: int
    shapes: tuple[tuple[int, ...], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "parameters": self.parameters}


@dataclass(frozen=True)
class TrainedBias:
    """A bias of the base that trains along (`bias` all or lora_only)."""

    name: str
    parameters: int


@dataclass(frozen=True)
class KindCount:
    """All adapted modules of one kind (the same place in every layer) and shape."""

    kind: str
    in_features: int
    out_features: int
    rank: int
    layers: int
    parameters_each: int
    parameters: int


@dataclass(frozen=True)
class LayerMatrix:
    """Trainable parameters by layer and module, for a heatmap; 0 where a layer lacks a module.

    parameters: (len(layers), len(modules)).
    """

    layers: tuple[str, ...]
    modules: tuple[str, ...]
    parameters: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ModelCount:
    """What a method trains in a model.

    base_parameters: of the model itself, tied weights once. trainable_parameters: as PEFT counts.
    trainable_fraction: trainable / base. adapter_bytes: size of adapter_model.safetensors, the
    tensors in float32 plus about 120 bytes of header a tensor, and the base's embedding where
    PEFT saves it along (when an embedding is targeted).
    biases: of the base itself; base_parameters has them too. resolved_targets: target_modules as
    PEFT was given them.
    """

    model: str
    method: MethodSpec
    base_parameters: int
    trainable_parameters: int
    modules: tuple[ModuleCount, ...]
    saved_modules: tuple[SavedModule, ...]
    biases: tuple[TrainedBias, ...]
    resolved_targets: str | tuple[str, ...]
    adapter_bytes: int
    warnings: tuple[str, ...]

    @property
    def trainable_fraction(self) -> float:
        return self.trainable_parameters / self.base_parameters

    @property
    def bias_parameters(self) -> int:
        return sum(bias.parameters for bias in self.biases)

    def kinds(self) -> tuple[KindCount, ...]:
        """The table by module kind, in the model's order."""
        groups: dict[tuple[str, int, int, int, int], list[ModuleCount]] = defaultdict(list)
        for m in self.modules:
            key = (kind_of(m.name), m.in_features, m.out_features, m.rank, m.parameters)
            groups[key].append(m)
        return tuple(
            KindCount(kind, inputs, outputs, rank, len(members), each, each * len(members))
            for (kind, inputs, outputs, rank, each), members in groups.items()
        )

    def layer_matrix(self) -> LayerMatrix:
        """Layers x modules. Rows are the numbered layers; modules outside one are left out."""
        cells: dict[tuple[str, str], int] = defaultdict(int)
        for module in self.modules:
            parts = module.name.split(".")
            number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
            if number is not None:
                row, column = ".".join(parts[: number + 1]), ".".join(parts[number + 1 :])
                cells[row, kind_of(column)] += module.parameters
        rows = sorted({row for row, _ in cells}, key=natural_order)
        columns = list(dict.fromkeys(column for _, column in cells))
        return LayerMatrix(
            layers=tuple(rows),
            modules=tuple(columns),
            parameters=tuple(tuple(cells.get((r, c), 0) for c in columns) for r in rows),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "base_parameters": self.base_parameters,
            "trainable_parameters": self.trainable_parameters,
            "trainable_fraction": self.trainable_fraction,
            "adapter_bytes": self.adapter_bytes,
            "modules": [module.to_json() for module in self.modules],
            "saved_modules": [module.to_json() for module in self.saved_modules],
            "biases": [vars(bias) for bias in self.biases],
            "kinds": [vars(kind) for kind in self.kinds()],
            "warnings": list(self.warnings),
        }
