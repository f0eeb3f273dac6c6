"""The weights of an adapter that is not LoRA: whole, finite and made for this base model?

Decided from names and shapes in the header of the file, then each number is looked at once. Knows
no model: what a tensor does is PEFT's and `bottleneck`'s affair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_engine.adapters.check import (
    OTHER_BASE,
    BaseWeights,
    check_provenance,
    content_hash,
)
from lora_engine.adapters.config import CLASSIFIERS, WEIGHTS_FILE, read_provenance
from lora_engine.adapters.kinds import (
    KIND_NAMES,
    VIRTUAL_TOKEN_KINDS,
    AdapterKind,
    OtherConfig,
    read_other_config,
)
from lora_engine.adapters.other_forms import folder_without, foreign_key_error
from lora_engine.adapters.weights_keys import AGAIN, FLOAT_DTYPES, PREFIX
from lora_engine.adapters.whole import refuse_non_finite
from lora_engine.base_models import BaseModel, fingerprint, read_config
from lora_engine.errors import EngineError
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


@dataclass(frozen=True)
class OtherCheck:
    """An adapter that passed. `warnings` are for the person; sha256 as in `AdapterCheck`."""

    path: Path
    adapter: OtherAdapter
    sha256: str
    base_fingerprint: str
    template_hash: str | None
    warnings: tuple[str, ...]

    @property
    def config(self) -> OtherConfig:
        return self.adapter.config


def check_other_adapter(path: Path, base: BaseModel) -> OtherCheck:
    """Check the adapter in folder `path`, which is not LoRA, against `base`.

    Raises NotFound for a missing file; EngineError for a classifier's, incomplete keys, shapes
    that do not fit, values that are not finite, or a base other than the one it was trained on.
    """
    adapter = read_other(path)
    if adapter.config.task_type in CLASSIFIERS:
        raise EngineError(
            f"{path} is a classifier's adapter of {KIND_NAMES[adapter.kind]}, and Rankscope reads "
            "those of language models only.",
            "Load it with PEFT on the base it was trained on.",
        )
    refuse_non_finite(adapter.file)
    warnings = check_other_on_base(adapter, base)
    template = (read_provenance(path) or {}).get("chat_template_hash")
    return OtherCheck(
        path=path,
        adapter=adapter,
        sha256=content_hash(path),
        base_fingerprint=fingerprint(base),
        template_hash=template if isinstance(template, str) else None,
        warnings=warnings,
    )


def check_other_on_base(adapter: OtherAdapter, base: BaseModel) -> tuple[str, ...]:
    """Is a whole adapter made for `base`? Returns warnings. Raises EngineError where it is not."""
    if base.path is not None:
        weights = BaseWeights.of(base.name, base.path)
        _check_width(adapter, weights)
        if adapter.kind == "prefix":
            _check_layers(adapter, base)
        for module in adapter.modules:
            _check_module(adapter, module, weights)
    provenance = read_provenance(adapter.path) or {}
    return tuple(check_provenance(adapter.path, provenance, base, fingerprint(base)))


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
            raise EngineError(f"{file.path}: {key} holds {entry.dtype}, no real numbers.", AGAIN)
    if config.kind in VIRTUAL_TOKEN_KINDS:
        return _virtual_tokens(path, config, file)
    shared = tuple(key for key in file.tensors if key in PROJECTIONS and config.kind == "vera")
    modules = _modules(config, file, shared)
    adapter = OtherAdapter(path, config, file, modules, shared)
    if config.kind == "vera" and config.save_projection and len(shared) != len(PROJECTIONS):
        raise _half_written(file, f"{' and '.join(PROJECTIONS)}, its random factors")
    for module in modules:
        _check_shapes(adapter, module)
    return adapter


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
        raise _half_written(file, f"any module of {KIND_NAMES[config.kind]}")
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


def _check_module(adapter: OtherAdapter, module: str, base: BaseWeights) -> None:
    """The base has the module, with sides that fit. Raises EngineError."""
    if adapter.kind == "bottleneck":
        if not base.has_module(module):
            raise _not_in(adapter, module, base)
        return
    entry = base.find(f"{module}.weight")
    if entry is None:
        raise _not_in(adapter, module, base)
    needed = [size for size in _sides(adapter, module) if size != 1]
    if entry.dtype in FLOAT_DTYPES and not set(needed) <= set(entry.shape):
        raise EngineError(
            f"{adapter.file.path}: {module} is made for a weight with a side of "
            f"{' and '.join(map(str, needed))}, and base model {base.name!r} has "
            f"{' x '.join(map(str, entry.shape))}.",
            OTHER_BASE,
        )


def _sides(adapter: OtherAdapter, module: str) -> tuple[int, ...]:
    if adapter.kind == "ia3":
        return adapter.entry(module, "ia3_l").shape
    if adapter.kind == "vera":
        return adapter.entry(module, "vera_lambda_b").shape
    rows = adapter.entry(module, "hada_w1_a").shape[0]
    return rows, adapter.entry(module, "hada_w1_b").shape[1]


def _check_width(adapter: OtherAdapter, base: BaseWeights) -> None:
    """What is as wide as the base's embeddings is so. Raises EngineError."""
    embedding, width = base.embedding(), adapter.width
    if embedding is None or width is None or width in embedding.shape:
        return
    raise EngineError(
        f"{adapter.file.path} is made for a model of the width {width:,}, and the embeddings of "
        f"base model {base.name!r} are {' x '.join(map(str, embedding.shape))}.",
        OTHER_BASE,
    )


def _check_layers(adapter: OtherAdapter, base: BaseModel) -> None:
    """A prefix has keys and values for each layer of the base. Raises EngineError."""
    config = read_config(base.path) if base.path is not None else {}
    config = {**config, **config.get("text_config", {})}
    layers = config.get("num_hidden_layers", config.get("n_layer"))
    if isinstance(layers, int) and layers != adapter.config.num_layers:
        raise EngineError(
            f"{adapter.file.path} has keys and values for {adapter.config.num_layers} layers, and "
            f"base model {base.name!r} has {layers}.",
            OTHER_BASE,
        )


def _not_in(adapter: OtherAdapter, module: str, base: BaseWeights) -> EngineError:
    return EngineError(
        f"{adapter.file.path} adapts {module}, and base model {base.name!r} has none.", OTHER_BASE
    )


def _half_written(file: SafetensorsFile, lacks: str) -> EngineError:
    return EngineError(f"{file.path} is half-written: it lacks {lacks}.", AGAIN)


def _other_shape(
    file: SafetensorsFile, name: str, shape: tuple[int, ...], wanted: tuple[int | None, ...]
) -> EngineError:
    shown = ["any" if size is None else f"{size}" for size in wanted]
    return EngineError(
        f"{file.path}: {name} has the shape {list(shape)}, and the configuration asks for "
        f"[{', '.join(shown)}].",
        "Check that config and weights belong together, or copy the adapter again.",
    )
