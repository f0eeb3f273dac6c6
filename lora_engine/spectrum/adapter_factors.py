"""A PEFT LoRA adapter folder as typed modules: factors, rank, scaling, kind.

    delta_weight (out_features, in_features) = scaling * lora_B @ lora_A

in that orientation for every kind; `transposed` says that the base model stores the weight the
other way round (Conv1D, Embedding). Read whole, checked complete and finite: half an adapter
is refused. Factors are widened to float32, so a bf16 adapter's update is not rounded again.
This module knows nothing of the base model; `base_delta.py` brings the two together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from lora_engine.adapters.config import (
    BASE_CHANGING_INITS,
    WEIGHTS_FILE,
    AdapterConfig,
    read_adapter_config,
)
from lora_engine.adapters.other_forms import folder_without
from lora_engine.adapters.weights_keys import (
    TOKENS,
    AdapterKeys,
    Part,
    check_shapes,
    factor_keys,
    read_keys,
)
from lora_engine.errors import EngineError, NotFound
from lora_engine.language import tr, translatable
from lora_engine.spectrum.low_rank_factors import Factors
from lora_engine.spectrum.progress import SILENT, WorkMonitor
from lora_engine.weights import limits
from lora_engine.weights.safetensors_file import SafetensorsFile, read_tensor, scan

MAX_MODULES = 100_000
"""Modules of one adapter, each expert of a fused weight counted."""


@dataclass(frozen=True, eq=False)
class AdapterModule:
    """One adapted module.

    lora_A (rank, in_features), lora_B (out_features, rank), float32. magnitude (out_features,)
    for DoRA, else None. bias (out_features,) of lora_B, else None. A convolution's kernel is
    folded into in_features. An expert is one slice of a weight that all experts share.
    """

    name: str
    kind: Literal["linear", "embedding", "convolution", "expert"]
    lora_A: np.ndarray
    lora_B: np.ndarray
    rank: int
    scaling: float
    transposed: bool
    magnitude: np.ndarray | None = None
    bias: np.ndarray | None = None

    @property
    def factors(self) -> Factors:
        """scaling * B and A. For DoRA the direction's part; its true update needs the base."""
        return Factors(self.lora_B.astype(np.float64) * self.scaling, self.lora_A)

    @property
    def shape(self) -> tuple[int, int]:
        """(out_features, in_features)."""
        return self.lora_B.shape[0], self.lora_A.shape[1]


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter folder: its config, its modules in the file's order, its whole tensors."""

    path: Path
    config: AdapterConfig
    modules: tuple[AdapterModule, ...]
    whole_tensors: tuple[str, ...]
    notes: tuple[str, ...]

    def module(self, name: str) -> AdapterModule:
        for module in self.modules:
            if module.name == name:
                return module
        names = ", ".join(module.name for module in self.modules[:6])
        raise NotFound(
            tr("The adapter has no module {name}.", name=f"{name[:200]!r}"),
            tr("Choose one of: {names}, ...", names=names),
        )


@dataclass(frozen=True, eq=False)
class AdapterFile:
    """An adapter folder whose headers are read and checked, and whose factors stay in the file.

    holders: what holds factors, in the file's order, under its name in the file; a fused weight
    holds those of all its experts. ranks and scalings: by holder.
    """

    path: Path
    config: AdapterConfig
    file: SafetensorsFile
    keys: AdapterKeys
    ranks: Mapping[str, int]
    scalings: Mapping[str, float]

    @property
    def holders(self) -> tuple[str, ...]:
        return tuple(self.keys.factors)

    def read(self, holder: str) -> tuple[AdapterModule, ...]:
        """The holder's module, or one module an expert. Raises EngineError as `read_adapter`."""
        scale = _Scale(
            self.ranks[holder],
            self.scalings[holder],
            self.config,
            self.keys.parameters.get(holder),
        )
        return tuple(_read_module(self.file, holder, self.keys.factors[holder], scale))


def open_adapter(path: str | Path) -> AdapterFile:
    """The headers of a PEFT adapter folder of any size; no factor is read yet.

    Raises NotFound when it is none, EngineError or InvalidInput naming what is wrong with its
    configuration or its keys.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise NotFound(
            tr("There is no adapter folder {folder}.", folder=folder), tr("Check the path.")
        )
    config = read_adapter_config(folder)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise folder_without(WEIGHTS_FILE, folder)
    file = scan(weights)
    keys = read_keys(file, config)
    names = {holder: keys.named(holder) for holder in keys.factors}
    ranks, scalings = config.ranks_of(names.values()), config.scalings_of(names.values())
    return AdapterFile(
        folder,
        config,
        file,
        keys,
        {holder: ranks[name] for holder, name in names.items()},
        {holder: scalings[name] for holder, name in names.items()},
    )


def read_adapter(path: str | Path, monitor: WorkMonitor = SILENT) -> Adapter:
    """Read a PEFT adapter folder, told and stopped between modules.

    Raises NotFound when it is none, EngineError or InvalidInput naming what is wrong: an
    unsound config, a missing half, a rank that does not fit, a value that is not finite.
    """
    stored = open_adapter(path)
    _check_total(stored.file)
    modules: list[AdapterModule] = []
    for number, holder in enumerate(stored.holders):
        monitor.step(number / len(stored.holders), tr("reading {module}", module=holder))
        modules += stored.read(holder)
        if len(modules) > MAX_MODULES:
            raise EngineError(
                tr(
                    "{name} adapts more than {max_modules} experts.",
                    name=stored.path.name,
                    max_modules=f"{MAX_MODULES:,}",
                ),
                tr("Compare it in parts, with fewer layers."),
            )
    config, keys = stored.config, stored.keys
    whole = (*keys.whole, *keys.embeddings, *keys.biases)
    notes = (*_start_notes(config), *_missing_targets(config, keys), *_whole_notes(keys))
    return Adapter(stored.path, config, tuple(modules), whole, notes)


@dataclass(frozen=True)
class _Scale:
    """What the configuration says of one module. parameter: of the module, where it has one."""

    rank: int
    scaling: float
    config: AdapterConfig
    parameter: str | None


def _check_total(file: SafetensorsFile) -> None:
    bound = 8 * limits.MAX_MEMORY_ELEMENTS
    if file.size_bytes > bound:
        raise EngineError(
            tr(
                "{name} has {size_bytes} bytes; adapters up to {bound} are read.",
                name=file.path.name,
                size_bytes=f"{file.size_bytes:,}",
                bound=f"{bound:,}",
            ),
            tr("Resize the adapter to a smaller rank first."),
        )


def _read_module(
    file: SafetensorsFile, name: str, keys: Mapping[Part, str], scale: _Scale
) -> Iterator[AdapterModule]:
    """Read and check one module's tensors; each expert of a fused weight is a module."""
    embedding = "embedding_A" in keys
    key_a, key_b = factor_keys(keys)
    experts = check_shapes(
        name, file.tensors[key_a], file.tensors[key_b], scale.rank, scale.parameter is not None
    )
    lora_A, lora_B = read_tensor(file, key_a), read_tensor(file, key_b)
    convolution = lora_A.ndim > 2
    lora_A, lora_B = (factor.reshape(factor.shape[0], -1) for factor in (lora_A, lora_B))
    module = AdapterModule(
        name=scale.parameter or name,
        kind="embedding" if embedding else "convolution" if convolution else "linear",
        lora_A=lora_A,
        lora_B=lora_B,
        rank=scale.rank,
        scaling=scale.scaling,
        transposed=embedding or (scale.config.fan_in_fan_out and not convolution),
        magnitude=_vector(file, keys, "magnitude", lora_B.shape[0]),
        bias=_vector(file, keys, "bias", lora_B.shape[0]),
    )
    return _experts_of(module, experts) if experts > 1 else iter((module,))


def _experts_of(module: AdapterModule, experts: int) -> Iterator[AdapterModule]:
    """The experts of PEFT's ParamWrapper: the rows of A expert by expert, the columns of B rank
    by rank, as its `get_delta_weight` takes them."""
    holder, _, parameter = module.name.rpartition(".")
    all_a = module.lora_A.reshape(experts, module.rank, -1)
    all_b = module.lora_B.reshape(-1, module.rank, experts)
    for expert in range(experts):
        yield replace(
            module,
            name=f"{holder}.{expert}.{parameter}",
            kind="expert",
            lora_A=all_a[expert],
            lora_B=np.ascontiguousarray(all_b[:, :, expert]),
        )


def _vector(
    file: SafetensorsFile, keys: Mapping[Part, str], part: Part, length: int
) -> np.ndarray | None:
    if part not in keys:
        return None
    values = read_tensor(file, keys[part]).reshape(-1)
    if values.size != length:
        raise EngineError(
            tr(
                "{keys} has {size} numbers; the module has {length} outputs.",
                keys=keys[part],
                size=f"{values.size:,}",
                length=f"{length:,}",
            ),
            tr("Check that it belongs to this adapter."),
        )
    return values


def _start_notes(config: AdapterConfig) -> tuple[str, ...]:
    """What a person must know to read the numbers of these factors rightly."""
    notes = []
    if config.initialization.startswith(BASE_CHANGING_INITS):
        notes.append(
            tr(
                "Initialized by {init}: the factors hold a part of the base weight from the start, "
                "so they are not the training's update alone.",
                init=config.initialization,
            )
        )
    if config.initialization.startswith("orthogonal"):
        notes.append(
            tr(
                "Initialized as orthogonal: B A is not zero at the start, so the factors are not "
                "the training's update alone."
            )
        )
    if config.switched_on(("alora_invocation_tokens",)):
        notes.append(tr("An activated LoRA: the update acts only after its invocation tokens."))
    return tuple(notes)


def _missing_targets(config: AdapterConfig, keys: AdapterKeys) -> tuple[str, ...]:
    """Note targets for which the file has nothing; PEFT allows names that match none."""
    if not isinstance(config.target_modules, list):
        return ()
    names = {*keys.factors, *keys.whole, *(name.rpartition(".")[0] for name in keys.whole)}
    endings = {
        ".".join(pieces[start:])
        for pieces in (name.split(".") for name in names)
        for start in range(len(pieces))
    }
    missing = [target for target in config.target_modules if target not in endings]
    if not missing:
        return ()
    shown = ", ".join(missing[:10])
    return (tr("The config targets {names}, of which the file holds nothing.", names=shown),)


def _whole_notes(keys: AdapterKeys) -> tuple[str, ...]:
    """What the file holds beside its factors, which no spectrum shows."""
    tokens = [name for name in keys.embeddings if name.endswith(TOKENS)]
    copies = [name for name in keys.embeddings if name not in tokens]
    kinds = {
        translatable("The adapter also replaces whole tensors: {names}."): [
            *keys.whole,
            *keys.biases,
        ],
        translatable("The adapter also replaces the rows of single tokens: {names}."): tokens,
        translatable(
            "The file also holds the base model's embeddings, saved along: {names}."
        ): copies,
    }
    return tuple(tr(said, names=", ".join(its[:5])) for said, its in kinds.items() if its)
