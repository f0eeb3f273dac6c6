"""The adapters known here: of finished runs, in `data_dir/adapters`, and the program's own.

A name, a run's id or a folder leads to an adapter's folder. Nothing is loaded: the summaries
come from the two JSON files of an adapter. A folder that cannot be read stands in a list of its
own, with the reason, and is refused when it is named.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.access import deed, forget_owner, is_mine, typed_path
from lora_engine.adapters.config import CONFIG_FILE, read_provenance
from lora_engine.adapters.importing import add_adapter, add_zip, is_added, refuse_others
from lora_engine.adapters.loading_code import loading_code
from lora_engine.adapters.notes_and_tags import Annotation, NotesAndTags
from lora_engine.adapters.other_forms import file_instead
from lora_engine.adapters.search import find_adapters
from lora_engine.adapters.summary import BUNDLED, AdapterSummary, describe_adapter, folder_name
from lora_engine.adapters.zip_download import file_name, write_zip
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.errors import EngineError, NotFound
from lora_engine.files import read_json_object
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.starter import ADAPTERS_DIR

if TYPE_CHECKING:
    from lora_engine.adapters.details import AdapterDetails

CONFIG_FILE_OF_A_MODEL = "config.json"
logger = logging.getLogger(__name__)


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
        self._notes = NotesAndTags(settings)

    def get(self, name: str) -> AdapterSummary:
        """The adapter that a run's id, a listed name or a folder means. Raises NotFound."""
        return self._annotated([describe_adapter(resolve_adapter(name, self._settings))])[0]

    def unreadable(self) -> list[UnreadableAdapter]:
        """The known folders whose adapters cannot be used, by path."""
        return list_unreadable_adapters(self._settings)

    def list(self, find: str = "", tag: str = "", order: str = "newest") -> list[AdapterSummary]:
        """Every readable adapter that has all the words and the tag (`search`), newest first.

        Raises InvalidInput for an unknown order.
        """
        return find_adapters(self._annotated(list_adapters(self._settings)), find, tag, order)

    def of_lora(self) -> Sequence[AdapterSummary]:
        """Those of LoRA, newest first: what has factors to show, to cut and to combine."""
        return [one for one in self.list() if one.kind == "lora"]

    def details(self, name: str) -> AdapterDetails:
        """One adapter opened: its modules, its checks, where it comes from."""
        from lora_engine.adapters.details import open_details

        return open_details(self.get(name), self._settings)

    @deed("note on adapter")
    def annotate(self, name: str, note: str, tags: Sequence[str]) -> AdapterSummary:
        """Keep a note and tags with an adapter. Raises InvalidInput."""
        summary = self.get(name)
        kept = self._notes.write(summary.path, note, tags)
        return replace(summary, note=kept.note, tags=kept.tags)

    @deed("add adapter")
    def add(self, source: str, name: str = "", stop: StopSignal = NEVER_STOPPED) -> AdapterSummary:
        """Add a folder, a zip or a hub id (`importing`). Raises EngineError, leaving nothing."""
        return self.get(str(add_adapter(source, self._settings, name, stop)))

    @deed("upload adapter")
    def add_upload(
        self, path: Path, file_name: str, name: str = "", stop: StopSignal = NEVER_STOPPED
    ) -> AdapterSummary:
        """Add an uploaded zip, called `file_name` by the person. Raises as `add`."""
        return self.get(str(add_zip(path, file_name, self._settings, name, stop)))

    def is_added(self, summary: AdapterSummary) -> bool:
        """Whether it lies in `data_dir/adapters`, so that it can be deleted here."""
        return is_added(summary.path, self._settings)

    @deed("delete adapter")
    def delete(self, name: str) -> None:
        """Delete an adapter of `data_dir/adapters` for good. Raises NotFound, Conflict."""
        path = self.refuse_others(name)
        shutil.rmtree(path)
        forget_owner(path)
        self._notes.forget(path)

    def refuse_others(self, name: str) -> Path:
        """The folder of an adapter that can be deleted here. Raises NotFound; Conflict for one
        that was not added here, such as a run's."""
        path = resolve_adapter(name, self._settings)
        refuse_others(path, self._settings)
        return path

    def loading_code(self, name: str) -> str:
        """The Python that loads it with PEFT."""
        summary = self.get(name)
        template = (read_provenance(summary.path) or {}).get("chat_template")
        return loading_code(summary, self._settings, with_template=bool(template))

    def write_zip(self, name: str, folder: Path) -> Path:
        """The adapter as a zip in `folder`, under its name. Raises EngineError."""
        summary = self.get(name)
        return write_zip(summary, folder / file_name(summary))

    def write_zip_to(self, name: str, target: Path) -> Path:
        """The adapter as the zip `target`. Raises EngineError."""
        return write_zip(self.get(name), target)

    def _annotated(self, summaries: Sequence[AdapterSummary]) -> Sequence[AdapterSummary]:
        """With each one's note and tags."""
        known = self._notes.all()
        if not known:
            return [*summaries]
        found = [known.get(self._notes.key(one.path), Annotation()) for one in summaries]
        return [
            replace(one, note=kept.note, tags=kept.tags)
            for one, kept in zip(summaries, found, strict=True)
        ]


def list_adapters(settings: Settings) -> list[AdapterSummary]:
    """Every readable adapter, newest first and the program's own last.

    A name met again carries its run or folder.
    """
    found = map(_summary_or_problem, _known_folders(settings))
    summaries = [one for one in found if isinstance(one, AdapterSummary)]
    summaries.sort(key=lambda one: (not one.bundled, one.created_at, str(one.path)), reverse=True)
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
    folder = typed_path(name_or_path, settings)
    if name_or_path and "/" not in name_or_path and name_or_path not in (".", ".."):
        of_run = settings.runs_dir / name_or_path / "adapter"
        is_mine_too = is_mine(of_run.parent)
        if is_mine_too and (of_run / CONFIG_FILE).is_file():
            return of_run
        whole = of_run.with_name("model")
        if is_mine_too and (whole / CONFIG_FILE_OF_A_MODEL).is_file():
            raise NotFound(
                tr(
                    "Run {name_or_path} trained a whole model, so it has no adapter.",
                    name_or_path=name_or_path,
                ),
                tr("Give {whole} as the base model.", whole=whole),
            )
    bundled = ADAPTERS_DIR / name_or_path.removeprefix(BUNDLED)
    if name_or_path.startswith(BUNDLED) and "/" not in name_or_path and bundled.is_dir():
        return bundled
    if name_or_path.startswith("/") and folder.is_dir():
        return folder.resolve()  # what pages name an adapter by: no other need be read
    known = list_adapters(settings)
    for summary in known:
        if summary.name == name_or_path:
            return summary.path
    if name_or_path and folder.is_dir():
        return folder.resolve()
    if name_or_path and folder.is_file():
        raise file_instead(folder)
    names = ", ".join(summary.name for summary in known[:20]) or tr("none yet")
    raise NotFound(
        tr(
            "There is no adapter {name_or_path}: no run, no listed name, no folder.",
            name_or_path=f"{name_or_path[:200]!r}",
        ),
        tr("Known here: {names}. Train one, or give the folder of a PEFT adapter.", names=names),
    )


def _summary_or_problem(folder: Path) -> AdapterSummary | UnreadableAdapter:
    try:
        return describe_adapter(folder)
    except (EngineError, OSError) as error:
        logger.warning("The adapter in %s is left out of the list: %s", folder, error)
        problem = error.problem if isinstance(error, EngineError) else str(error)
        return UnreadableAdapter(folder_name(folder), folder, problem)


def _known_folders(settings: Settings) -> Iterator[Path]:
    for result in settings.runs_dir.glob("*/result.json"):
        if (
            is_mine(result.parent)
            and _state(result) == "finished"
            and (result.parent / "adapter").is_dir()
        ):
            yield result.parent / "adapter"
    for folder in (settings.data_dir / "adapters", ADAPTERS_DIR):
        found = (path.parent for path in folder.glob(f"[!.]*/{CONFIG_FILE}"))
        yield from (one for one in found if folder == ADAPTERS_DIR or is_mine(one))


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
            name = f"{name} ({folder_name(summary.path)})"
        seen.add(name)
        unique.append(replace(summary, name=name))
    return unique
