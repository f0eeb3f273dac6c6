"""Is a whole adapter that is not LoRA finite, and made for this base model?

Held against the headers of the base's files and the fingerprint in provenance.json, before
anything loads it. `other_weights` says whether it is whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lora_engine.adapters.check import (
    CLASSIFIERS,
    OTHER_BASE,
    BaseWeights,
    check_provenance,
    content_hash,
)
from lora_engine.adapters.config import read_provenance
from lora_engine.adapters.kinds import KIND_NAMES, OtherConfig
from lora_engine.adapters.other_weights import OtherAdapter, read_other
from lora_engine.adapters.weights_keys import FLOAT_DTYPES
from lora_engine.adapters.whole import refuse_non_finite
from lora_engine.base_models import BaseModel, fingerprint, read_config
from lora_engine.errors import EngineError
from lora_engine.language import tr


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
            tr(
                "{path} is a classifier's adapter of {kind_names}, and Rankscope reads those "
                "of language models only.",
                path=path,
                kind_names=tr(KIND_NAMES[adapter.kind]),
            ),
            tr("Load it with PEFT on the base it was trained on."),
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
        weights = BaseWeights.of(base, base.path)
        _check_width(adapter, weights)
        if adapter.kind == "prefix":
            _check_layers(adapter, base)
        for module in adapter.modules:
            _check_module(adapter, module, weights)
    provenance = read_provenance(adapter.path) or {}
    return tuple(check_provenance(adapter.path, provenance, base, fingerprint(base)))


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
            tr(
                "{path}: {module} is made for a weight with a side of {map}, and base model "
                "{name} has {map_2}.",
                path=adapter.file.path,
                module=module,
                map=", ".join(map(str, needed)),
                name=f"{base.name!r}",
                map_2=" x ".join(map(str, entry.shape)),
            ),
            tr(OTHER_BASE),
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
        tr(
            "{path} is made for a model of the width {width}, and the embeddings of base "
            "model {name} are {map}.",
            path=adapter.file.path,
            width=f"{width:,}",
            name=f"{base.name!r}",
            map=" x ".join(map(str, embedding.shape)),
        ),
        tr(OTHER_BASE),
    )


def _check_layers(adapter: OtherAdapter, base: BaseModel) -> None:
    """A prefix has keys and values for each layer of the base. Raises EngineError."""
    config = read_config(base.path) if base.path is not None else {}
    config = {**config, **config.get("text_config", {})}
    layers = config.get("num_hidden_layers", config.get("n_layer"))
    if isinstance(layers, int) and layers != adapter.config.num_layers:
        raise EngineError(
            tr(
                "{path} has keys and values for {num_layers} layers, and base model {name} "
                "has {layers}.",
                path=adapter.file.path,
                num_layers=adapter.config.num_layers,
                name=f"{base.name!r}",
                layers=layers,
            ),
            tr(OTHER_BASE),
        )


def _not_in(adapter: OtherAdapter, module: str, base: BaseWeights) -> EngineError:
    return EngineError(
        tr(
            "{path} adapts {module}, and base model {name} has none.",
            path=adapter.file.path,
            module=module,
            name=f"{base.name!r}",
        ),
        tr(OTHER_BASE),
    )
