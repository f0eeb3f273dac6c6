"""One adapter in a list: what its small files say. Nothing is loaded, no number of it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lora_engine.adapters.config import (
    CLASSIFIERS,
    WEIGHTS_FILE,
    AdapterConfig,
    read_provenance,
)
from lora_engine.adapters.kinds import (
    AdapterKind,
    OtherConfig,
    kind_of,
    read_any_config,
    size_in_words,
)
from lora_engine.adapters.other_forms import folder_without
from lora_engine.files import read_json_object
from lora_engine.starter import ADAPTERS_DIR

BUNDLED = "starter:"  # stands before the names of adapters that come with the program
RUNS_FOLDER = "adapter"  # what a run calls the folder of its adapter


@dataclass(frozen=True)
class AdapterSummary:
    """One adapter. `created_at` is ISO 8601 in UTC; what its files do not say is None.

    kind: its method; size: its rank, its virtual tokens or its inner width, in words. rank and
    alpha are None where the method has none. targets: what the configuration targets, as text.
    dataset: the rows it was trained on. eval_loss: of the run that left it. made_by: the operation
    that wrote it, such as resize. classifies: it tells classes, and answers no questions.
    note, tags: the person's own. bundled: it comes with the program.
    """

    name: str
    path: Path
    rank: int | None
    base_model: str | None
    base_fingerprint: str | None
    run_id: str | None
    created_at: str
    bytes: int
    alpha: float | None = None
    targets: str | None = None
    dataset: str | None = None
    eval_loss: float | None = None
    made_by: str | None = None
    kind: AdapterKind = "lora"
    size: str = ""
    classifies: bool = False
    note: str = ""
    tags: tuple[str, ...] = ()
    bundled: bool = False


def describe_adapter(path: Path) -> AdapterSummary:
    """The summary of the adapter in a folder.

    Raises NotFound or EngineError where the folder holds no readable adapter.
    """
    config = read_any_config(path)
    weights = path / WEIGHTS_FILE
    if not weights.is_file():
        raise folder_without(WEIGHTS_FILE, path)
    provenance = read_provenance(path) or {}
    spec = object_in(provenance, "spec")
    is_runs = is_of_run(path)
    stat = weights.stat()
    return AdapterSummary(
        name=(text_in(spec, "name") if is_runs else None) or folder_name(path),
        path=path,
        rank=config.r,
        base_model=text_in(provenance, "base_model") or config.base_model_name_or_path,
        base_fingerprint=text_in(provenance, "base_fingerprint"),
        run_id=text_in(provenance, "run") or (path.parent.name if is_runs else None),
        created_at=datetime.fromtimestamp(stat.st_mtime, UTC).isoformat(timespec="seconds"),
        bytes=stat.st_size,
        alpha=config.lora_alpha if isinstance(config, AdapterConfig) else config.alpha,
        targets=_targets(config),
        dataset=text_in(object_in(spec, "dataset"), "source"),
        eval_loss=_eval_loss(path) if is_runs else None,
        made_by=text_in(object_in(provenance, "operation"), "kind"),
        kind=kind_of(config),
        size=size_in_words(config),
        classifies=config.task_type in CLASSIFIERS,
        bundled=is_bundled(path),
    )


def is_of_run(path: Path) -> bool:
    """Whether the folder is where a run left its adapter."""
    return path.name == RUNS_FOLDER and (path.parent / "result.json").is_file()


def is_bundled(path: Path) -> bool:
    """Whether it is one that comes with the program."""
    return path.parent == ADAPTERS_DIR


def folder_name(path: Path) -> str:
    """The name of the folder, or of the run that left it; of a bundled one, the starter's."""
    if is_bundled(path):
        return f"{BUNDLED}{path.name}"
    return path.parent.name if path.name == RUNS_FOLDER else path.name


def text_in(document: Mapping[str, Any], key: str) -> str | None:
    """A text of an untrusted document, at most 500 characters; None where it is none."""
    value = document.get(key)
    return value[:500] if isinstance(value, str) and value.strip() else None


def object_in(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object of an untrusted document; empty where it is none."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _targets(config: AdapterConfig | OtherConfig) -> str | None:
    targets = config.target_modules
    names = [targets] if isinstance(targets, str) else [*(targets or [])]
    parameters = config.target_parameters if isinstance(config, AdapterConfig) else None
    return ", ".join([*sorted(names), *(parameters or [])])[:500] or None


def _eval_loss(path: Path) -> float | None:
    try:
        value = read_json_object(path.parent / "result.json").get("eval_loss")
    except (OSError, ValueError):
        return None
    return float(value) if isinstance(value, int | float) else None
