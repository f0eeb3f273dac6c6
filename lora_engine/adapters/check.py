"""Is an adapter whole, finite and made for this base model? Checked before anything loads it.

PEFT loads half an adapter with a warning and an adapter on the wrong base without one. This module
refuses missing keys, shapes that do not fit the rank or the base's weights (from their headers),
values that are not finite, and a fingerprint in provenance.json that is not the base's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lora_engine.adapters.config import (
    CLASSIFIERS,
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterConfig,
    read_applicable_config,
    read_provenance,
)
from lora_engine.adapters.lora_config import TASK_TYPES
from lora_engine.adapters.weights_keys import FLOAT_DTYPES, AdapterKeys
from lora_engine.adapters.whole import WholeAdapter, read_whole, refuse_non_finite
from lora_engine.base_models import BaseModel, fingerprint, read_config
from lora_engine.base_models.stored_names import ModelNames
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from lora_engine.spec import Task
from lora_engine.weights.safetensors_file import (
    SafetensorsFile,
    TensorEntry,
    scan,
    stored_matrix,
)

OTHER_BASE = translatable("Choose the base model that this adapter was trained on.")
HEADS = ("lm_head", "embed_out")  # not stored under their own names where the embedding is tied
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
ROWS = 4_096  # of an embedding, compared at once
HASHED_BYTES = 2**20


@dataclass(frozen=True)
class AdapterCheck:
    """An adapter that passed. `warnings` are for the person.

    modules: the names of the adapted modules, each once. sha256 is over the configuration and the
    weights: all that decides what the adapter computes.
    """

    path: Path
    config: AdapterConfig
    keys: AdapterKeys
    modules: tuple[str, ...]
    sha256: str
    base_fingerprint: str
    template_hash: str | None
    warnings: tuple[str, ...]


def refuse_other_task(path: Path, task: Task = "causal_lm") -> AdapterConfig:
    """The adapter's configuration. Raises EngineError where it classifies, and not for `task`."""
    config = read_applicable_config(path)
    if config.task_type in CLASSIFIERS and config.task_type != TASK_TYPES[task]:
        raise EngineError(
            tr(
                "{path} is a classifier's adapter; only causal language models answer questions.",
                path=path,
            ),
            tr("Try it out on Compare, under Classifier, or with `classify --adapter`."),
        )
    return config


def check_adapter(path: Path, base: BaseModel, task: Task = "causal_lm") -> AdapterCheck:
    """Check the adapter in folder `path` against `base`. task: what it is to be used for.

    Raises NotFound for a missing file; EngineError for incomplete keys, shapes that do not fit,
    values that are not finite, or a base other than the one it was trained on.
    """
    config = refuse_other_task(path, task)
    adapter = read_whole(path, config)
    keys = adapter.keys
    _check_weights(adapter, base)
    refuse_non_finite(adapter.file)
    provenance = read_provenance(path) or {}
    base_fingerprint = fingerprint(base)
    warnings = check_provenance(path, provenance, base, base_fingerprint)
    template = provenance.get("chat_template_hash")
    return AdapterCheck(
        path=path,
        config=config,
        keys=keys,
        modules=tuple(dict.fromkeys(name.replace(".base_layer", "") for name in keys.factors)),
        sha256=content_hash(path),
        base_fingerprint=base_fingerprint,
        template_hash=template if isinstance(template, str) else None,
        warnings=tuple(warnings),
    )


def check_on_base(adapter: WholeAdapter, base: BaseModel) -> tuple[str, ...]:
    """Is a whole adapter made for `base`? Returns warnings. Raises EngineError where it is not."""
    _check_weights(adapter, base)
    provenance = read_provenance(adapter.path) or {}
    return tuple(check_provenance(adapter.path, provenance, base, fingerprint(base)))


def _check_weights(adapter: WholeAdapter, base: BaseModel) -> None:
    """The shapes and the tensors saved whole, against the headers of the base's files."""
    if base.path is None:
        return
    file, keys, weights = adapter.file, adapter.keys, BaseWeights.of(base, base.path)
    _check_against_base(file, keys, adapter.shapes, weights)
    _check_embeddings(file, keys, weights)
    _check_whole(file, keys, adapter.config, weights)


@dataclass(frozen=True)
class BaseWeights:
    """The headers of a base model's files."""

    base: BaseModel
    entries: Mapping[str, TensorEntry]
    files: Mapping[str, SafetensorsFile]  # by tensor

    @classmethod
    def of(cls, base: BaseModel, folder: Path) -> BaseWeights:
        files = {}
        for path in sorted(folder.glob("*.safetensors")):
            file = scan(path)
            files.update(dict.fromkeys(file.tensors, file))
        return cls(base, {key: file.tensors[key] for key, file in files.items()}, files)

    @property
    def name(self) -> str:
        return self.base.name

    def find(self, tensor: str) -> TensorEntry | None:
        """A tensor; some checkpoints leave out the prefix `transformer.` or `model.`, and those of
        models that also see or hear have names that transformers changes when it loads them."""
        for name in (tensor, tensor.split(".", 1)[-1], f"model.{tensor}"):
            if name in self.entries:
                return self.entries[name]
        if self._names is None or tensor not in self._names.parameters:
            return None
        stored = self._names.stored_name(tensor)
        return None if stored is None else self.entries[stored]

    def has_module(self, module: str) -> bool:
        """Whether any weight lies in the module, by its name with or without the prefixes."""
        names = (module, module.split(".", 1)[-1], f"model.{module}")
        if any(key.startswith(tuple(f"{name}." for name in names)) for key in self.entries):
            return True
        loaded = () if self._names is None else self._names.parameters
        return any(key.startswith(f"{module}.") for key in loaded)

    @cached_property
    def _names(self) -> ModelNames | None:
        """What the model calls its weights, of a model of several parts; the rest keep the names
        in their files. It is built without weights, so only where a name was not found."""
        config = {} if self.base.path is None else read_config(self.base.path)
        return ModelNames.of(self.base, self.entries) if "text_config" in config else None

    def embedding(self) -> TensorEntry | None:
        """The table of token embeddings, by the names it goes by."""
        found = (entry for name, entry in self.entries.items() if name.endswith(EMBEDDINGS))
        return next(found, None)


def content_hash(folder: Path) -> str:
    """SHA-256 over an adapter's configuration and weights, read in blocks."""
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        with (folder / name).open("rb") as file:
            while block := file.read(HASHED_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _check_against_base(
    file: SafetensorsFile,
    keys: AdapterKeys,
    shapes: Mapping[str, tuple[int, int]],
    base: BaseWeights,
) -> None:
    for module, (out_features, in_features) in shapes.items():
        if module in keys.parameters:
            continue  # experts are stored one by one, and fused when they are loaded
        entry = base.find(f"{module}.weight")
        if entry is None:
            if module.rsplit(".", 1)[-1] in HEADS:
                continue
            raise EngineError(
                tr(
                    "{path} adapts {module}, and base model {name} has no such weight.",
                    path=file.path,
                    module=module,
                    name=f"{base.name!r}",
                ),
                tr(OTHER_BASE),
            )
        # Conv1D (GPT-2) and embeddings store the weight transposed; packed 4-bit weights differ.
        fits = sorted(entry.shape) == sorted((out_features, in_features))
        if entry.dtype in FLOAT_DTYPES and not fits:
            raise EngineError(
                tr(
                    "{path}: {module} is made for a weight of {out_features} x "
                    "{in_features}, and base model {name} has {map}.",
                    path=file.path,
                    module=module,
                    out_features=out_features,
                    in_features=in_features,
                    name=f"{base.name!r}",
                    map=" x ".join(map(str, entry.shape)),
                ),
                tr(OTHER_BASE),
            )


def _check_whole(
    file: SafetensorsFile, keys: AdapterKeys, config: AdapterConfig, base: BaseWeights
) -> None:
    """Every module to save that the base has is in the file, with the base's shapes."""
    for entry in config.modules_to_save or []:
        one = config.model_copy(update={"modules_to_save": [entry]})
        in_base = next((name for name in base.entries if one.is_saved_whole(name)), None)
        if in_base is not None and not any(one.is_saved_whole(name) for name in keys.whole):
            raise EngineError(
                tr(
                    "{path} is half-written: modules_to_save names {entry}, and it has no "
                    "weights of it, such as {in_base}.",
                    path=file.path,
                    entry=entry,
                    in_base=in_base,
                ),
                tr("Copy the adapter again from where it was saved, or train it again."),
            )
    _check_biases(file, keys, config, base)
    for name, key in {**keys.whole, **keys.biases}.items():
        ours, theirs = file.tensors[key], base.find(name)
        if theirs is not None and theirs.dtype in FLOAT_DTYPES and theirs.shape != ours.shape:
            raise EngineError(
                tr(
                    "{path}: {name} has the shape {shape}, and base model {name_2} has {shape_2}.",
                    path=file.path,
                    name=name,
                    shape=list(ours.shape),
                    name_2=f"{base.name!r}",
                    shape_2=list(theirs.shape),
                ),
                tr(OTHER_BASE),
            )


def _check_biases(
    file: SafetensorsFile, keys: AdapterKeys, config: AdapterConfig, base: BaseWeights
) -> None:
    """Where biases of the base trained and it has some, the file has them."""
    if config.bias == "none" or keys.biases or any(n.endswith(".bias") for n in keys.whole):
        return
    if config.bias == "all":
        wanted = next((name for name in base.entries if name.endswith(".bias")), None)
    else:
        wanted = next((n for n in keys.factors if base.find(f"{n}.bias") is not None), None)
    if wanted is not None:
        raise EngineError(
            tr(
                "{path} is half-written: it says bias {bias} and holds none of the base's "
                "biases, such as that of {wanted}.",
                path=file.path,
                bias=f"{config.bias!r}",
                wanted=wanted.removesuffix(".bias"),
            ),
            tr("Copy the adapter again from where it was saved, or train it again."),
        )


def _check_embeddings(file: SafetensorsFile, keys: AdapterKeys, base: BaseWeights) -> None:
    """Embeddings that PEFT saved along are the base's own; others would change the base."""
    for name, key in keys.embeddings.items():
        ours, theirs = file.tensors[key], base.find(name)
        if theirs is None and name.rsplit(".", 2)[-2] in HEADS:
            theirs = _tied(base, ours.shape)
        if theirs is None or theirs.shape != ours.shape:
            has = "none" if theirs is None else f"{list(theirs.shape)}"
            raise EngineError(
                tr(
                    "{path} holds {key} of the shape {shape}, which would overwrite the base "
                    "model's ({has}): the vocabulary was resized in training.",
                    path=file.path,
                    key=key,
                    shape=list(ours.shape),
                    has=has,
                ),
                tr(
                    "Merge the adapter into that resized base with PEFT (merge_and_unload) "
                    "and give the merged folder as the base model."
                ),
            )
        if not _same_numbers(file, key, base.files[theirs.name], theirs.name):
            raise EngineError(
                tr(
                    "{path} holds {key}, which differs from the base model's and would "
                    "overwrite the base model.",
                    path=file.path,
                    key=key,
                ),
                tr(
                    "Where it was trained, name it in modules_to_save; else save the adapter "
                    "with save_pretrained(..., save_embedding_layers=False)."
                ),
            )


def _tied(base: BaseWeights, shape: tuple[int, ...]) -> TensorEntry | None:
    found = (entry for name, entry in base.entries.items() if name.endswith(EMBEDDINGS))
    return next((entry for entry in found if entry.shape == shape), None)


def _same_numbers(file: SafetensorsFile, key: str, other: SafetensorsFile, name: str) -> bool:
    """Whether two tensors hold the same numbers, the one rounded to the other's type."""
    if len(file.tensors[key].shape) != 2:
        return False
    ours, theirs = stored_matrix(file, key), stored_matrix(other, name)
    for start in range(0, ours.shape[0], ROWS):
        stop = min(start + ROWS, ours.shape[0])
        if not np.allclose(ours.rows(start, stop), theirs.rows(start, stop), rtol=2**-7, atol=0):
            return False
    return True


def check_provenance(
    path: Path, provenance: dict[str, Any], base: BaseModel, base_fingerprint: str
) -> list[str]:
    trained_on = provenance.get("base_fingerprint")
    if not trained_on:
        return [
            tr(
                "{name} does not say which base model it was trained on (no base fingerprint in "
                "provenance.json). Its shapes fit {base}.",
                name=path.name,
                base=base.name,
            )
        ]
    if trained_on != base_fingerprint:
        raise EngineError(
            tr(
                "The adapter {path} was trained on base model {get} with fingerprint "
                "{trained_on}; {name} has {base_fingerprint}.",
                path=path,
                get=f"{str(provenance.get('base_model'))[:200]!r}",
                trained_on=str(trained_on)[:64],
                name=f"{base.name!r}",
                base_fingerprint=base_fingerprint,
            ),
            tr(OTHER_BASE),
        )
    return []
