"""A PEFT LoRA adapter folder as typed modules: factors, rank, scaling, kind.

    delta_weight (out_features, in_features) = scaling * lora_B @ lora_A

in that orientation for every kind; `transposed` says that the base model stores the weight the
other way round (Conv1D, Embedding). Read whole, checked complete and finite: half an adapter
is refused. Factors are widened to float32, so a bf16 adapter's update is not rounded again.
This module knows nothing of the base model; `base_delta.py` brings the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lora_engine.adapters.config import (
    BASE_CHANGING_INITS,
    WEIGHTS_FILE,
    AdapterConfig,
    read_adapter_config,
)
from lora_engine.errors import EngineError, NotFound
from lora_engine.spectrum.low_rank_factors import Factors
from lora_engine.spectrum.progress import SILENT, WorkMonitor
from lora_engine.weights import limits
from lora_engine.weights.matrix import describe_shape
from lora_engine.weights.safetensors_file import SafetensorsFile, read_tensor, scan

PREFIX = "base_model.model."
Part = Literal["A", "B", "bias", "magnitude", "embedding_A", "embedding_B"]
_SUFFIXES: tuple[tuple[str, Part], ...] = (
    (".lora_A.weight", "A"),
    (".lora_B.weight", "B"),
    (".lora_B.bias", "bias"),
    (".lora_embedding_A", "embedding_A"),
    (".lora_embedding_B", "embedding_B"),
    (".lora_magnitude_vector", "magnitude"),
    (".lora_magnitude_vector.weight", "magnitude"),
)
# PEFT saves these whole beside an adapter that targets or resizes them.
_EMBEDDING_NAMES = ("embed_tokens", "lm_head", "wte", "word_embeddings", "embed_in", "embed_out")


@dataclass(frozen=True, eq=False)
class AdapterModule:
    """One adapted module.

    lora_A (rank, in_features), lora_B (out_features, rank), float32. magnitude (out_features,)
    for DoRA, else None. bias (out_features,) of lora_B, else None. A convolution's kernel is
    folded into in_features.
    """

    name: str
    kind: Literal["linear", "embedding", "convolution"]
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
        raise NotFound(f"The adapter has no module {name[:200]!r}.", f"Choose one of: {names}, ...")


def read_adapter(path: str | Path, monitor: WorkMonitor = SILENT) -> Adapter:
    """Read a PEFT adapter folder, told and stopped between modules.

    Raises NotFound when it is none, EngineError or InvalidInput naming what is wrong: an
    unsound config, a missing half, a rank that does not fit, a value that is not finite.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise NotFound(f"There is no adapter folder {folder}.", "Check the path.")
    config = read_adapter_config(folder)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise NotFound(
            f"{folder.name} holds no {WEIGHTS_FILE}.",
            "Save the adapter with safe_serialization=True; adapter_model.bin is not opened.",
        )
    file = scan(weights)
    _check_total(file)
    parts, whole = _sort_keys(file, config)
    if not parts:
        raise EngineError(f"{WEIGHTS_FILE} holds no LoRA factors.", "Check that it is the adapter.")
    modules = []
    for number, (name, keys) in enumerate(parts.items()):
        monitor.step(number / len(parts), f"reading {name}")
        modules.append(_read_module(file, name, keys, config))
    notes = (*_start_notes(config), *_missing_targets(config, modules, whole), *_whole_note(whole))
    return Adapter(folder, config, tuple(modules), whole, notes)


def _check_total(file: SafetensorsFile) -> None:
    bound = 8 * limits.MAX_MEMORY_ELEMENTS
    if file.size_bytes > bound:
        raise EngineError(
            f"{file.path.name} has {file.size_bytes:,} bytes; adapters up to {bound:,} are read.",
            "Resize the adapter to a smaller rank first.",
        )


def _sort_keys(
    file: SafetensorsFile, config: AdapterConfig
) -> tuple[dict[str, dict[Part, str]], tuple[str, ...]]:
    """Module name to its parts' keys, and the names of tensors saved whole."""
    parts: dict[str, dict[Part, str]] = {}
    whole = []
    for key in file.tensors:
        name, part = _split_key(key)
        if part is None:
            if not _is_whole(name, config):
                raise EngineError(
                    f"{file.path.name} holds {key[:200]!r}, which belongs to no LoRA module.",
                    "Save the adapter again with PEFT's save_pretrained.",
                )
            whole.append(name)
        elif part in parts.setdefault(name, {}):
            raise EngineError(f"{name} has its {part} twice.", "Save the adapter again.")
        else:
            parts[name][part] = key
    return parts, tuple(whole)


def _split_key(key: str) -> tuple[str, Part | None]:
    plain = key.removeprefix(PREFIX)
    for suffix, part in _SUFFIXES:
        if plain.endswith(suffix):
            return plain.removesuffix(suffix), part
    return plain, None


def _is_whole(name: str, config: AdapterConfig) -> bool:
    """Whether PEFT saves this tensor whole: modules_to_save, embeddings, trained biases."""
    if ".lora_" in name:
        return False
    pieces = name.split(".")
    saved = {target.split(".")[-1] for target in config.modules_to_save or []}
    if saved.intersection(pieces) or set(_EMBEDDING_NAMES).intersection(pieces):
        return True
    return config.bias != "none" and pieces[-1] == "bias"


def _read_module(
    file: SafetensorsFile, name: str, keys: dict[Part, str], config: AdapterConfig
) -> AdapterModule:
    """Read and check one module's tensors."""
    embedding = "embedding_A" in keys or "embedding_B" in keys
    needed: set[Part] = {"embedding_A", "embedding_B"} if embedding else {"A", "B"}
    if config.use_dora:
        needed.add("magnitude")
    if config.lora_bias and not embedding:
        needed.add("bias")
    if set(keys) != needed:
        missing, extra = sorted(needed - set(keys)), sorted(set(keys) - needed)
        wrong = [*(f"lacks {part}" for part in missing), *(f"has {part}" for part in extra)]
        raise EngineError(
            f"The module {name} is not complete: it {' and '.join(wrong)}.",
            "Get the whole adapter: half of one would load with a warning and be wrong.",
        )
    lora_A = read_tensor(file, keys["embedding_A" if embedding else "A"])
    lora_B = read_tensor(file, keys["embedding_B" if embedding else "B"])
    convolution = lora_A.ndim > 2
    lora_A, lora_B = _as_matrices(name, lora_A, lora_B)
    rank = _check_rank(name, lora_A, lora_B, config)
    return AdapterModule(
        name=name,
        kind="embedding" if embedding else "convolution" if convolution else "linear",
        lora_A=lora_A,
        lora_B=lora_B,
        rank=rank,
        scaling=config.scaling_of(name),
        transposed=embedding or (config.fan_in_fan_out and not convolution),
        magnitude=_vector(file, keys, "magnitude", lora_B.shape[0]),
        bias=_vector(file, keys, "bias", lora_B.shape[0]),
    )


def _as_matrices(name: str, lora_A: np.ndarray, lora_B: np.ndarray) -> tuple[np.ndarray, ...]:
    """Fold a convolution's kernel into in_features; its B must be 1 x 1."""
    if min(lora_A.ndim, lora_B.ndim) < 2 or (lora_B.ndim > 2 and set(lora_B.shape[2:]) != {1}):
        raise EngineError(
            f"{name} has factors of {describe_shape(lora_A.shape)} and "
            f"{describe_shape(lora_B.shape)}; needed are (rank, in) and (out, rank).",
            "Save the adapter again; shards of a distributed run must be gathered first.",
        )
    return lora_A.reshape(lora_A.shape[0], -1), lora_B.reshape(lora_B.shape[0], -1)


def _check_rank(name: str, lora_A: np.ndarray, lora_B: np.ndarray, config: AdapterConfig) -> int:
    expected = config.rank_of(name)
    if lora_A.size == 0 or lora_B.size == 0 or {lora_A.shape[0], lora_B.shape[1]} != {expected}:
        raise EngineError(
            f"{name}: the config says rank {expected}, the factors are "
            f"{describe_shape(lora_A.shape)} and {describe_shape(lora_B.shape)}.",
            "Check that config and weights belong together (rank_pattern included).",
        )
    return expected


def _vector(
    file: SafetensorsFile, keys: dict[Part, str], part: Part, length: int
) -> np.ndarray | None:
    if part not in keys:
        return None
    values = read_tensor(file, keys[part]).reshape(-1)
    if values.size != length:
        raise EngineError(
            f"{keys[part]} has {values.size:,} numbers; the module has {length:,} outputs.",
            "Check that it belongs to this adapter.",
        )
    return values


def _start_notes(config: AdapterConfig) -> tuple[str, ...]:
    """What a person must know to read the numbers of these factors rightly."""
    notes = []
    if config.initialization.startswith(BASE_CHANGING_INITS):
        notes.append(
            f"Initialized by {config.initialization}: the factors hold a part of the base weight "
            "from the start, so they are not the training's update alone."
        )
    if config.initialization.startswith("orthogonal"):
        notes.append(
            "Initialized as orthogonal: B A is not zero at the start, so the factors are not the "
            "training's update alone."
        )
    if config.switched_on(("alora_invocation_tokens",)):
        notes.append("An activated LoRA: the update acts only after its invocation tokens.")
    return tuple(notes)


def _missing_targets(
    config: AdapterConfig, modules: list[AdapterModule], whole: tuple[str, ...]
) -> tuple[str, ...]:
    """Note targets for which the file has nothing; PEFT allows names that match none."""
    if not isinstance(config.target_modules, list):
        return ()
    names = [module.name for module in modules] + list(whole)
    missing = [
        target
        for target in config.target_modules
        if not any(name == target or name.endswith("." + target) for name in names)
    ]
    if not missing:
        return ()
    return (f"The config targets {', '.join(missing)}, of which the file holds nothing.",)


def _whole_note(whole: tuple[str, ...]) -> tuple[str, ...]:
    if not whole:
        return ()
    return (f"The adapter also replaces whole tensors: {', '.join(whole[:5])}.",)
