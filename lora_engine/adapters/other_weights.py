"""The weights of an adapter that is not LoRA: what each tensor is, and is any missing?

Decided from names and shapes in the header of the file, against its configuration. Knows no model:
what a tensor does is PEFT's affair, or that of `bottleneck_layers`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_engine.adapters.config import WEIGHTS_FILE
from lora_engine.adapters.kinds import (
    KIND_NAMES,
    VIRTUAL_TOKEN_KINDS,
    AdapterKind,
    OtherConfig,
    read_other_config,
)
from lora_engine.adapters.other_forms import folder_without, foreign_key_error
from lora_engine.adapters.weights_keys import AGAIN, FLOAT_DTYPES, PREFIX
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spec import MAX_RANK
from lora_engine.weights.safetensors_file import SafetensorsFile, TensorEntry, scan

PROMPT = "prompt_embeddings"
PROJECTIONS = ("base_model.vera_A", "base_model.vera_B")
PARTS: dict[AdapterKind, tuple[str, ...]] = {
    "ia3": ("ia3_l",),
    "vera": ("vera_lambda_b", "vera_lambda_d"),
    "loha": ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),
    "bottleneck": (
        "bottleneck.down.weight",
        "bottleneck.down.bias",
        "bottleneck.up.weight",
        "bottleneck.up.bias",
    ),
}
"""What a module of each kind holds, as its tensors' names end."""

Modules = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class OtherAdapter:
    """An adapter with nothing missing.

    modules: by module, the key of each of its parts; empty for virtual tokens. shared: the keys of
    tensors that belong to no module. parameters: numbers that were trained; VeRA's random factors
    were not.
    """

    path: Path
    config: OtherConfig
    file: SafetensorsFile
    modules: Modules
    shared: tuple[str, ...]

    @property
    def kind(self) -> AdapterKind:
        return self.config.kind

    @property
    def parameters(self) -> int:
        trained = (e for key, e in self.file.tensors.items() if key not in PROJECTIONS)
        return sum(math.prod(entry.shape) for entry in trained)

    def entry(self, module: str, part: str) -> TensorEntry:
        return self.file.tensors[self.modules[module][part]]

    @property
    def width(self) -> int | None:
        """The width of the model that it is made for, where its shapes alone tell."""
        if self.kind in ("prompt", "p_tuning"):
            return self.config.token_dim
        if self.kind == "bottleneck":
            return self.entry(next(iter(self.modules)), "bottleneck.up.bias").shape[0]
        return None  # of prefix tuning they tell that of the keys

    @property
    def feedforward(self) -> tuple[str, ...]:
        """The modules whose inputs IA³ scales: their factors are one row."""
        if self.kind != "ia3":
            return ()
        return tuple(name for name in self.modules if self.entry(name, "ia3_l").shape[0] == 1)


def read_other(path: Path, config: OtherConfig | None = None) -> OtherAdapter:
    """The adapter in a folder, from its configuration and the header of its weights.

    Raises NotFound for a missing file; EngineError for incomplete or foreign keys and for shapes
    that do not fit the configuration.
    """
    config = config or read_other_config(path)
    if not (path / WEIGHTS_FILE).is_file():
        raise folder_without(WEIGHTS_FILE, path)
    file = scan(path / WEIGHTS_FILE)
    for key, entry in file.tensors.items():
        if entry.dtype not in FLOAT_DTYPES:
            raise EngineError(
                tr(
                    "{path}: {key} holds {dtype}, no real numbers.",
                    path=file.path,
                    key=key,
                    dtype=entry.dtype,
                ),
                tr(AGAIN),
            )
    if config.kind in VIRTUAL_TOKEN_KINDS:
        return _virtual_tokens(path, config, file)
    shared = tuple(key for key in file.tensors if key in PROJECTIONS and config.kind == "vera")
    modules = _modules(config, file, shared)
    adapter = OtherAdapter(path, config, file, modules, shared)
    if config.kind == "vera":
        _check_projections(adapter)
    for module in modules:
        _check_shapes(adapter, module)
    return adapter


def _check_projections(adapter: OtherAdapter) -> None:
    """VeRA's random factors A (rank, in) and B (out, rank) are in the file, or small enough to be
    drawn again from the configuration's number. Raises EngineError."""
    file, rank = adapter.file, adapter.config.r or 0
    if not adapter.config.save_projection:
        if rank > MAX_RANK:
            raise EngineError(
                tr(
                    "{path} leaves out its random factors, and rank {rank} is too much to "
                    "draw them again; at most {max_rank} is allowed.",
                    path=file.path,
                    rank=f"{rank:,}",
                    max_rank=f"{MAX_RANK:,}",
                ),
                tr("Save it with save_projection=True."),
            )
        return
    if len(adapter.shared) != len(PROJECTIONS):
        raise _half_written(file, tr("{names}, its random factors", names=", ".join(PROJECTIONS)))
    for key, wanted in zip(PROJECTIONS, ((rank, None), (None, rank)), strict=True):
        shape = file.tensors[key].shape
        if len(shape) != 2 or shape[wanted.index(rank)] != rank:
            raise _other_shape(file, key, shape, wanted)


def _virtual_tokens(path: Path, config: OtherConfig, file: SafetensorsFile) -> OtherAdapter:
    for key in file.tensors:
        if key != PROMPT:
            raise foreign_key_error(str(file.path), key)
    if PROMPT not in file.tensors:
        raise _half_written(file, PROMPT)
    width = config.token_dim or 0
    if config.kind == "prefix":
        width *= 2 * (config.num_layers or 0)
    shape = file.tensors[PROMPT].shape
    if shape != (config.num_virtual_tokens, width):
        raise _other_shape(file, PROMPT, shape, (config.num_virtual_tokens, width))
    return OtherAdapter(path, config, file, {}, (PROMPT,))


def _modules(config: OtherConfig, file: SafetensorsFile, shared: tuple[str, ...]) -> Modules:
    """The keys by module and part. Raises EngineError for a part missing or of another form."""
    parts, found = PARTS[config.kind], dict[str, dict[str, str]]()
    for key in file.tensors:
        if key in shared:
            continue
        part = next((part for part in parts if key.endswith(f".{part}")), None)
        if part is None or not key.startswith(PREFIX):
            raise foreign_key_error(str(file.path), key)
        found.setdefault(key.removeprefix(PREFIX).removesuffix(f".{part}"), {})[part] = key
    if not found:
        raise _half_written(file, tr("any module of {method}", method=tr(KIND_NAMES[config.kind])))
    for module, its in found.items():
        if missing := [part for part in parts if part not in its]:
            raise _half_written(file, f"{module}.{missing[0]}")
    return found


def _check_shapes(adapter: OtherAdapter, module: str) -> None:
    """The parts of a module fit each other and the configuration. Raises EngineError."""
    shapes = {part: adapter.entry(module, part).shape for part in adapter.modules[module]}
    for part, shape in shapes.items():
        wanted = _wanted(adapter, shapes)[part]
        fits = len(shape) == len(wanted) and all(
            want is None or size == want for size, want in zip(shape, wanted, strict=True)
        )
        if not fits or 0 in shape:
            raise _other_shape(adapter.file, f"{module}.{part}", shape, wanted)
    if adapter.kind == "ia3" and 1 not in shapes["ia3_l"]:
        raise _other_shape(adapter.file, f"{module}.ia3_l", shapes["ia3_l"], (None, 1))


def _wanted(
    adapter: OtherAdapter, shapes: Mapping[str, tuple[int, ...]]
) -> Mapping[str, tuple[int | None, ...]]:
    """The shape each part needs; None where the base model decides."""
    config = adapter.config
    if config.kind == "ia3":
        return {"ia3_l": (None, None)}
    if config.kind == "vera":
        return {"vera_lambda_b": (None,), "vera_lambda_d": (config.r,)}
    if config.kind == "loha":
        rank = config.r
        rows, columns = shapes["hada_w1_a"][:1], shapes["hada_w1_b"][-1:]
        left, right = (*rows, rank), (rank, *columns)
        return {"hada_w1_a": left, "hada_w1_b": right, "hada_w2_a": left, "hada_w2_b": right}
    inner, width = config.bottleneck_size, shapes["bottleneck.up.weight"][:1]
    return {
        "bottleneck.down.weight": (inner, *width),
        "bottleneck.down.bias": (inner,),
        "bottleneck.up.weight": (*width, inner),
        "bottleneck.up.bias": width,
    }


def _half_written(file: SafetensorsFile, lacks: str) -> EngineError:
    return EngineError(
        tr("{path} is half-written: it lacks {lacks}.", path=file.path, lacks=lacks), tr(AGAIN)
    )


def _other_shape(
    file: SafetensorsFile, name: str, shape: tuple[int, ...], wanted: tuple[int | None, ...]
) -> EngineError:
    shown = [tr("any") if size is None else f"{size}" for size in wanted]
    return EngineError(
        tr(
            "{path}: {name} has the shape {shape}, and the configuration asks for [{shown}].",
            path=file.path,
            name=name,
            shape=list(shape),
            shown=", ".join(shown),
        ),
        tr("Check that config and weights belong together, or copy the adapter again."),
    )
