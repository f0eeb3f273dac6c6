"""One adapter opened: what it is, where it comes from, every module of it, and is it sound.

Factors are read one module at a time, so an adapter of any size takes the memory of its largest
module. `norm` is the Frobenius norm of the update from the factors alone, never forming it:
||s B A||_F = s sqrt(sum((B^T B) * (A A^T))). Knows nothing of spectra.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lora_engine.adapters.check import check_on_base
from lora_engine.adapters.config import AdapterConfig, read_provenance
from lora_engine.adapters.kinds import OtherConfig, read_any_config
from lora_engine.adapters.other_check import check_other_on_base
from lora_engine.adapters.other_details import PartFacts, part_facts, values_of
from lora_engine.adapters.other_weights import OtherAdapter, read_other
from lora_engine.adapters.summary import AdapterSummary, is_of_run, object_in, text_in
from lora_engine.adapters.weights_keys import factor_keys
from lora_engine.adapters.whole import WholeAdapter, read_whole, refuse_non_finite
from lora_engine.base_models import BaseModel, resolve_base_model
from lora_engine.base_models.weight_files import local_folder
from lora_engine.errors import EngineError, NotFound
from lora_engine.files import read_json_object
from lora_engine.language import tr
from lora_engine.settings import Settings


@dataclass(frozen=True)
class ModuleFacts:
    """One adapted module. a_shape (rank, in), b_shape (out, rank); of an expert's parameter all
    experts stand in them. norm: ||s B A||_F; a_norm, b_norm: of the factors themselves. None where
    a value is not finite. parameters: numbers in A and B, and in what DoRA or a bias adds.
    """

    name: str
    rank: int
    scaling: float
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    a_norm: float | None
    b_norm: float | None
    norm: float | None
    parameters: int


@dataclass(frozen=True)
class Check:
    """One question about an adapter: `ok` is None where it cannot be answered here."""

    name: str
    ok: bool | None
    words: str


@dataclass(frozen=True)
class AdapterDetails:
    """What is known of one adapter. Sizes in bytes; base_bytes is None where the base is not here.

    modules: of LoRA; parts: of any other method. whole_tensors: tensors saved whole beside the
    factors. evaluation: what the run that left it measured. operation: what wrote it, with its
    sources and its error.
    """

    summary: AdapterSummary
    config: AdapterConfig | OtherConfig
    modules: tuple[ModuleFacts, ...]
    parts: tuple[PartFacts, ...]
    whole_tensors: tuple[str, ...]
    checks: tuple[Check, ...]
    base_bytes: int | None
    dtypes: tuple[str, ...]
    data_hash: str | None
    template: str | None
    template_hash: str | None
    evaluation: Mapping[str, Any]
    operation: Mapping[str, Any]

    @property
    def parameters(self) -> int:
        of_parts = sum(part.parameters for part in self.parts)
        return of_parts + sum(module.parameters for module in self.modules)

    @property
    def scalings(self) -> tuple[float, ...]:
        """Every scaling among the modules, ascending."""
        return tuple(sorted({module.scaling for module in self.modules}))


def open_details(summary: AdapterSummary, settings: Settings) -> AdapterDetails:
    """Read one adapter. What is wrong with it is among the checks.

    Raises NotFound or EngineError where its small files cannot be read.
    """
    config = read_any_config(summary.path)
    provenance = read_provenance(summary.path) or {}
    whole, problem = _whole(summary.path, config)
    base = _base(summary, settings)
    return AdapterDetails(
        summary=summary,
        config=config,
        modules=_modules(whole) if isinstance(whole, WholeAdapter) else (),
        parts=part_facts(whole) if isinstance(whole, OtherAdapter) else (),
        whole_tensors=_whole_tensors(whole) if whole is not None else (),
        checks=_checks(whole, problem, base, summary),
        base_bytes=_weights_bytes(base),
        dtypes=tuple(sorted({entry.dtype for entry in whole.file.tensors.values()}))
        if whole is not None
        else (),
        data_hash=text_in(provenance, "data_hash"),
        template=text_in(provenance, "chat_template"),
        template_hash=text_in(provenance, "chat_template_hash"),
        evaluation=_evaluation(summary.path),
        operation=object_in(provenance, "operation"),
    )


def _whole(
    path: Path, config: AdapterConfig | OtherConfig
) -> tuple[WholeAdapter | OtherAdapter | None, str]:
    try:
        if isinstance(config, OtherConfig):
            return read_other(path, config), ""
        return read_whole(path, config), ""
    except EngineError as error:
        return None, error.problem


def _modules(adapter: WholeAdapter) -> tuple[ModuleFacts, ...]:
    keys = adapter.keys
    names = [keys.named(module) for module in keys.factors]
    ranks, scalings = adapter.config.ranks_of(names), adapter.config.scalings_of(names)
    found = []
    for module, parts in keys.factors.items():
        name = keys.named(module)
        key_a, key_b = factor_keys(parts)
        lora_A, lora_B = values_of(adapter.file, key_a), values_of(adapter.file, key_b)
        found.append(
            ModuleFacts(
                name=name.replace(".base_layer", ""),
                rank=ranks[name],
                scaling=scalings[name],
                a_shape=lora_A.shape,
                b_shape=lora_B.shape,
                a_norm=_finite(float(np.linalg.norm(lora_A))),
                b_norm=_finite(float(np.linalg.norm(lora_B))),
                norm=_finite(scalings[name] * _product_norm(lora_A, lora_B, ranks[name])),
                parameters=sum(math.prod(adapter.file.tensors[k].shape) for k in parts.values()),
            )
        )
    return tuple(found)


def _product_norm(lora_A: np.ndarray, lora_B: np.ndarray, rank: int) -> float:
    """||B A||_F; of several experts, as PEFT lays them out, over all of them.

    The rows of A lie expert by expert, the columns of B rank by rank.
    """
    experts = lora_A.shape[0] // rank
    all_a = lora_A.reshape(experts, rank, -1)
    all_b = lora_B.reshape(lora_B.shape[0], rank, experts)
    total = 0.0
    for expert in range(experts):
        a, b = all_a[expert], all_b[:, :, expert]
        total += float(((b.T @ b) * (a @ a.T)).sum())
    return math.sqrt(max(0.0, total)) if math.isfinite(total) else total


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _whole_tensors(adapter: WholeAdapter | OtherAdapter) -> tuple[str, ...]:
    if isinstance(adapter, OtherAdapter):
        return adapter.shared if adapter.modules else ()
    keys = adapter.keys
    return (*keys.whole, *keys.embeddings, *keys.biases)


def _base(summary: AdapterSummary, settings: Settings) -> BaseModel | None:
    """The base that the adapter names, where its files are here."""
    if summary.base_model is None:
        return None
    try:
        base = resolve_base_model(summary.base_model, settings)
    except EngineError:
        return None
    folder = local_folder(base)
    return None if folder is None else BaseModel(base.name, folder)


def _weights_bytes(base: BaseModel | None) -> int | None:
    if base is None or base.path is None:
        return None
    return sum(path.stat().st_size for path in base.path.glob("*.safetensors"))


def _checks(
    whole: WholeAdapter | OtherAdapter | None,
    problem: str,
    base: BaseModel | None,
    summary: AdapterSummary,
) -> tuple[Check, ...]:
    """Whole, finite, on the right base: each with its word."""
    if whole is None:
        unasked = tr("Not looked at: the adapter is not whole.")
        return (
            Check("whole", False, problem),
            Check("finite", None, unasked),
            Check("right base", None, unasked),
        )
    found = [Check("whole", True, _whole_words(whole))]
    try:
        refuse_non_finite(whole.file)
        found.append(Check("finite", True, tr("Every number is finite.")))
    except EngineError as error:
        found.append(Check("finite", False, error.problem))
    found.append(_base_check(whole, base, summary))
    return tuple(found)


def _whole_words(whole: WholeAdapter | OtherAdapter) -> str:
    if isinstance(whole, WholeAdapter):
        return tr(
            "Every factor of its {count} modules is there and fits.",
            count=f"{len(whole.shapes):,}",
        )
    if not whole.modules:
        return tr(
            "All its {count} virtual tokens are there and fit.",
            count=f"{whole.config.virtual_tokens:,}",
        )
    return tr(
        "Every tensor of its {count} modules is there and fits.", count=f"{len(whole.modules):,}"
    )


def _base_check(
    whole: WholeAdapter | OtherAdapter, base: BaseModel | None, summary: AdapterSummary
) -> Check:
    if base is None:
        words = (
            tr(
                "Not compared: its base, {base}, is not on this machine.",
                base=f"{summary.base_model!r}",
            )
            if summary.base_model
            else tr("Not compared: the base it needs is not on this machine.")
        )
        return Check("right base", None, words)
    try:
        if isinstance(whole, OtherAdapter):
            warnings = check_other_on_base(whole, base)
        else:
            warnings = check_on_base(whole, base)
    except NotFound as error:
        return Check("right base", None, error.problem)
    except EngineError as error:
        return Check("right base", False, error.problem)
    if warnings:
        return Check("right base", None, " ".join(warnings))
    words = tr(
        "The fingerprint is that of {base}: {fingerprint}.",
        base=base.name,
        fingerprint=summary.base_fingerprint,
    )
    return Check("right base", True, words)


def _evaluation(path: Path) -> Mapping[str, Any]:
    """What result.json says of the run that left the adapter; empty for any other."""
    if not is_of_run(path):
        return {}
    try:
        return read_json_object(path.parent / "result.json")
    except (OSError, ValueError):
        return {}
