"""The adapters known here: those of finished runs and those in `data_dir/adapters`.

A name, a run's id or a folder leads to an adapter's folder. Nothing is loaded: the summaries
come from the two JSON files of an adapter. A folder that cannot be read stands in a list of its
own, with the reason, and is refused when it is named.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from lora_engine.adapters.config import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    read_applicable_config,
    read_provenance,
)
from lora_engine.adapters.other_forms import file_instead, folder_without
from lora_engine.errors import EngineError, NotFound
from lora_engine.files import read_json_object
from lora_engine.settings import Settings

CONFIG_FILE_OF_A_MODEL = "config.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdapterSummary:
    """One adapter. `created_at` is ISO 8601 in UTC; what provenance does not say is None."""

    name: str
    path: Path
    rank: int
    base_model: str | None
    base_fingerprint: str | None
    run_id: str | None
    created_at: str
    bytes: int


@dataclass(frozen=True)
class UnreadableAdapter:
    """A known folder that holds no adapter this program can use, and why."""

    name: str
    path: Path
    problem: str


class AdapterLibrary:
    """What the engine offers about adapters."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def get(self, name: str) -> AdapterSummary:
        """The adapter that a run's id, a listed name or a folder means. Raises NotFound."""
        return describe_adapter(resolve_adapter(name, self._settings))

    def unreadable(self) -> list[UnreadableAdapter]:
        """The known folders whose adapters cannot be used, by path."""
        return list_unreadable_adapters(self._settings)

    def list(self) -> list[AdapterSummary]:
        """Every readable adapter, newest first."""
        return list_adapters(self._settings)


def list_adapters(settings: Settings) -> list[AdapterSummary]:
    """Every readable adapter, newest first; a name met again carries its run or folder."""
    found = map(_summary_or_problem, _known_folders(settings))
    summaries = [one for one in found if isinstance(one, AdapterSummary)]
    summaries.sort(key=lambda summary: (summary.created_at, str(summary.path)), reverse=True)
    return _with_unique_names(summaries)


def list_unreadable_adapters(settings: Settings) -> list[UnreadableAdapter]:
    """The known folders that `list_adapters` leaves out, by path."""
    found = map(_summary_or_problem, _known_folders(settings))
    unreadable = [one for one in found if isinstance(one, UnreadableAdapter)]
    return sorted(unreadable, key=lambda one: one.path)


def resolve_adapter(name_or_path: str, settings: Settings) -> Path:
    """The folder that a run's id, a listed name or a path means.

    Raises NotFound, listing the known names.
    """
    if name_or_path and "/" not in name_or_path and name_or_path not in (".", ".."):
        of_run = settings.runs_dir / name_or_path / "adapter"
        if (of_run / CONFIG_FILE).is_file():
            return of_run
        whole = of_run.with_name("model")
        if (whole / CONFIG_FILE_OF_A_MODEL).is_file():
            raise NotFound(
                f"Run {name_or_path} trained a whole model, so it has no adapter.",
                f"Give {whole} as the base model.",
            )
    known = list_adapters(settings)
    for summary in known:
        if summary.name == name_or_path:
            return summary.path
    folder = Path(name_or_path).expanduser()
    if name_or_path and folder.is_dir():
        return folder.resolve()
    if name_or_path and folder.is_file():
        raise file_instead(folder)
    names = ", ".join(summary.name for summary in known[:20]) or "none yet"
    raise NotFound(
        f"There is no adapter {name_or_path[:200]!r}: no run, no listed name, no folder.",
        f"Known here: {names}. Train one, or give the folder of a PEFT adapter.",
    )


def describe_adapter(path: Path) -> AdapterSummary:
    """The summary of the adapter in a folder.

    Raises NotFound or EngineError where the folder holds no readable LoRA adapter.
    """
    config = read_applicable_config(path)
    weights = path / WEIGHTS_FILE
    if not weights.is_file():
        raise folder_without(WEIGHTS_FILE, path)
    provenance = read_provenance(path) or {}
    spec = provenance.get("spec")
    named = spec.get("name") if isinstance(spec, dict) else None
    is_run = path.name == "adapter" and (path.parent / "result.json").is_file()
    run_id = _text(provenance.get("run")) or (path.parent.name if is_run else None)
    stat = weights.stat()
    return AdapterSummary(
        name=_text(named) or _folder_name(path),
        path=path,
        rank=config.r,
        base_model=_text(provenance.get("base_model")) or config.base_model_name_or_path,
        base_fingerprint=_text(provenance.get("base_fingerprint")),
        run_id=run_id,
        created_at=datetime.fromtimestamp(stat.st_mtime, UTC).isoformat(timespec="seconds"),
        bytes=stat.st_size,
    )


def _summary_or_problem(folder: Path) -> AdapterSummary | UnreadableAdapter:
    try:
        return describe_adapter(folder)
    except (EngineError, OSError) as error:
        logger.warning("The adapter in %s is left out of the list: %s", folder, error)
        problem = error.problem if isinstance(error, EngineError) else str(error)
        return UnreadableAdapter(_folder_name(folder), folder, problem)


def _known_folders(settings: Settings) -> Iterator[Path]:
    for result in settings.runs_dir.glob("*/result.json"):
        if _state(result) == "finished" and (result.parent / "adapter").is_dir():
            yield result.parent / "adapter"
    yield from (path.parent for path in (settings.data_dir / "adapters").glob(f"*/{CONFIG_FILE}"))


def _state(result: Path) -> str | None:
    try:
        return read_json_object(result).get("state")
    except (OSError, ValueError):
        return None


def _with_unique_names(summaries: list[AdapterSummary]) -> list[AdapterSummary]:
    seen: set[str] = set()
    unique = []
    for summary in summaries:
        name = summary.name
        if name in seen:
            name = f"{name} ({summary.run_id or _folder_name(summary.path)})"
        seen.add(name)
        unique.append(replace(summary, name=name))
    return unique


def _folder_name(path: Path) -> str:
    """The name of the folder, or of the run that left it."""
    return path.parent.name if path.name == "adapter" else path.name


def _text(value: object) -> str | None:
    return value[:500] if isinstance(value, str) and value.strip() else None
