"""Is an adapter whole, finite and made for this base model? Checked before anything loads it.

PEFT loads half an adapter with a warning and an adapter on the wrong base without one. This module
refuses missing keys, shapes that do not fit the rank or the base's weights (from their headers),
values that are not finite, and a fingerprint in provenance.json that is not the base's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_engine.adapters.config import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterConfig,
    read_applicable_config,
    read_provenance,
)
from lora_engine.base_models import BaseModel, fingerprint
from lora_engine.errors import EngineError, NotFound
from lora_engine.weights.safetensors_file import TensorEntry, scan

PREFIX = "base_model.model."
FACTOR = re.compile(r"^(?P<module>.+)\.lora_(embedding_)?(?P<factor>[AB])(\.weight)?$")
EXTRA = re.compile(r"\.(lora_magnitude_vector(\.weight)?|lora_B\.bias)$")
FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")
RETRAIN = "Copy the adapter again from where it was saved, or train it again."

CLASSIFIERS = ("SEQ_CLS", "TOKEN_CLS")  # PEFT's task types


@dataclass(frozen=True)
class AdapterCheck:
    """An adapter that passed. `warnings` are for the person.

    sha256 is over the configuration and the weights: all that decides what the adapter computes.
    """

    path: Path
    config: AdapterConfig
    modules: tuple[str, ...]
    sha256: str
    base_fingerprint: str
    template_hash: str | None
    warnings: tuple[str, ...]


def check_adapter(path: Path, base: BaseModel) -> AdapterCheck:
    """Check the adapter in folder `path` against `base`.

    Raises NotFound for a missing file; EngineError for incomplete keys, shapes that do not fit,
    values that are not finite, or a base other than the one it was trained on.
    """
    config = read_applicable_config(path)
    if config.task_type in CLASSIFIERS:
        raise EngineError(
            f"{path} is a classifier's adapter; Compare shows causal language models only.",
            "Load it with PEFT on the base it was trained on; its provenance.json lists the "
            "classes.",
        )
    weights = path / WEIGHTS_FILE
    if not weights.is_file():
        raise NotFound(f"{path} is half-written: it has no {WEIGHTS_FILE}.", RETRAIN)
    modules = _check_factors(weights, scan(weights).tensors, config)
    if base.path is not None:
        _check_against_base(weights, modules, base.name, base.path)
    _check_finite(weights)
    provenance = read_provenance(path) or {}
    base_fingerprint = fingerprint(base)
    warnings = _check_provenance(path, provenance, base, base_fingerprint)
    template = provenance.get("chat_template_hash")
    return AdapterCheck(
        path=path,
        config=config,
        modules=tuple(modules),
        sha256=_content_hash(path),
        base_fingerprint=base_fingerprint,
        template_hash=template if isinstance(template, str) else None,
        warnings=tuple(warnings),
    )


def _content_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _check_factors(
    path: Path, entries: Mapping[str, TensorEntry], config: AdapterConfig
) -> dict[str, tuple[int, int]]:
    """Module name to (out_features, in_features). Raises EngineError for a factor that is missing,
    has the wrong shape, or does not belong to LoRA."""
    factors: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, entry in entries.items():
        if entry.dtype not in FLOAT_DTYPES:
            raise EngineError(f"{path}: {key} is {entry.dtype}, not a float type.", RETRAIN)
        match = FACTOR.match(key)
        if match:
            pair = factors.setdefault(match["module"].removeprefix(PREFIX), {})
            if len(entry.shape) != 2:
                raise EngineError(f"{path}: {key} has shape {list(entry.shape)}.", RETRAIN)
            pair[match["factor"]] = entry.shape
        elif not EXTRA.search(key) and not _is_saved_whole(key, config):
            raise EngineError(
                f"{path} holds {key}, which is no part of a LoRA adapter and would overwrite the "
                "base model.",
                "Save the adapter with save_pretrained(..., save_embedding_layers=False).",
            )
    if not factors:
        raise EngineError(f"{path} holds no LoRA factors.", RETRAIN)
    for name in config.modules_to_save or []:
        if not any(f".{name}." in key for key in entries):
            raise EngineError(f"{path} is half-written: it has no weights of {name}.", RETRAIN)
    return {
        module: _check_pair(path, module, pair, config.rank_of(module))
        for module, pair in factors.items()
    }


def _is_saved_whole(key: str, config: AdapterConfig) -> bool:
    if ".base_layer." in key or ".original_module." in key:
        return False
    names = config.modules_to_save or []
    return any(f".{name}." in f".{key}" for name in names)


def _check_pair(
    path: Path, module: str, pair: dict[str, tuple[int, ...]], rank: int
) -> tuple[int, int]:
    for factor in ("A", "B"):
        if factor not in pair:
            raise EngineError(f"{path} is half-written: {module} has no lora_{factor}.", RETRAIN)
    (rank_a, in_features), (out_features, rank_b) = pair["A"], pair["B"]
    if not rank_a == rank_b == rank:
        raise EngineError(
            f"{path}: {module} has lora_A {list(pair['A'])} and lora_B {list(pair['B'])}, but its "
            f"configuration says rank {rank}.",
            RETRAIN,
        )
    return out_features, in_features


def _check_against_base(
    path: Path, modules: dict[str, tuple[int, int]], base_name: str, base_folder: Path
) -> None:
    entries: dict[str, TensorEntry] = {}
    for file in sorted(base_folder.glob("*.safetensors")):
        entries.update(scan(file).tensors)
    for module, (out_features, in_features) in modules.items():
        entry = _base_entry(module, entries)
        if entry is None:
            if module.rsplit(".", 1)[-1] == "lm_head":
                continue  # tied to the embedding: not stored under its own name
            raise EngineError(
                f"{path} adapts {module}, and base model {base_name!r} has no such weight.",
                "Choose the base model that this adapter was trained on.",
            )
        # Conv1D (GPT-2) and embeddings store the weight transposed; packed 4-bit weights differ.
        fits = sorted(entry.shape) == sorted((out_features, in_features))
        if entry.dtype in FLOAT_DTYPES and not fits:
            raise EngineError(
                f"{path}: {module} is made for a weight of {out_features} x {in_features}, and "
                f"base model {base_name!r} has {' x '.join(map(str, entry.shape))}.",
                "Choose the base model that this adapter was trained on.",
            )


def _base_entry(module: str, entries: dict[str, TensorEntry]) -> TensorEntry | None:
    """A module's weight; some checkpoints leave out the prefix `transformer.` or `model.`."""
    for name in (module, module.split(".", 1)[-1], f"model.{module}"):
        if f"{name}.weight" in entries:
            return entries[f"{name}.weight"]
    return None


def _check_finite(path: Path) -> None:
    import torch
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 (a safetensors handle is no mapping)
            wrong = int((~torch.isfinite(file.get_tensor(key))).sum())
            if wrong:
                raise EngineError(
                    f"{path}: {key} holds {wrong:,} values that are NaN or infinite.",
                    "Use an earlier checkpoint of this run, or train with a lower learning rate.",
                )


def _check_provenance(
    path: Path, provenance: dict[str, Any], base: BaseModel, base_fingerprint: str
) -> list[str]:
    trained_on = provenance.get("base_fingerprint")
    if not trained_on:
        return [
            f"{path.name} does not say which base model it was trained on (no base fingerprint "
            f"in provenance.json). Its shapes fit {base.name}."
        ]
    if trained_on != base_fingerprint:
        raise EngineError(
            f"The adapter {path} was trained on base model "
            f"{str(provenance.get('base_model'))[:200]!r} with fingerprint "
            f"{str(trained_on)[:64]}; {base.name!r} has {base_fingerprint}.",
            "Choose the base model that this adapter was trained on.",
        )
    return []
