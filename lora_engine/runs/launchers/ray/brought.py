"""What a run's job needs on its node: its spec, its base, sets and checkpoint, through a storage.

Here `bring` writes a list of them and puts them there; on the node `take` makes a folder of them.
Its spec names what it names by the paths of the node. A checkpoint knows the spec it belongs to,
so it is told the other one on either way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from lora_engine.adapters import resolve_adapter
from lora_engine.base_models import BUNDLED, resolve_base_model
from lora_engine.data.sources import STARTER_PREFIX, path_of_source
from lora_engine.errors import EngineError, NotFound
from lora_engine.files import write_atomically
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launchers.ray.shared_content import CONTENT, wait_for_sweeps
from lora_engine.runs.launchers.ray.storage import (
    Between,
    Storage,
    StorageTrouble,
    StoredFile,
    refuse_outside,
    stored_as,
)
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from lora_engine.training.checkpointing.checkpoints import Manifest
from lora_engine.training.checkpointing.identity import spec_fields, spec_hash
from lora_engine.training.precision import FILE as PRECISION

MANIFEST = "manifest.json"
MB = 1_000_000

FileName = Annotated[str, AfterValidator(refuse_outside)]


class BroughtPath(BaseModel):
    """What the spec names by `named`: a file or a folder, which is called `name` there."""

    model_config = ConfigDict(frozen=True)

    named: str
    name: FileName
    files: dict[FileName, StoredFile]


class Brought(BaseModel):
    """All that a job takes. folder: files of the run's folder, where it goes on."""

    model_config = ConfigDict(frozen=True)

    spec: RunSpec
    paths: tuple[BroughtPath, ...]
    folder: dict[FileName, StoredFile]


@dataclass(frozen=True)
class Renaming:
    """A run's spec here and on its node, and the node's path of each thing that it names."""

    here: RunSpec
    there: RunSpec
    paths: dict[str, str]  # as named here to the path there

    def manifest(self, content: bytes, to_here: bool) -> bytes:
        """A checkpoint's manifest, which then belongs to the other spec."""
        was, now = (self.there, self.here) if to_here else (self.here, self.there)
        manifest = Manifest.model_validate_json(content)
        if manifest.identity.spec_hash != spec_hash(was):
            return content
        told = {"spec_hash": spec_hash(now), "spec_fields": spec_fields(now)}
        identity = manifest.identity.model_copy(update=told)
        changed = manifest.model_copy(update={"identity": identity})
        return changed.model_dump_json(indent=1).encode()

    def document(self, content: bytes) -> bytes:
        """A JSON document of the node with the names that things have here."""
        if not any(json.dumps(path)[1:-1].encode() in content for path in self.paths.values()):
            return content
        return json.dumps(self._in_words_of_here(json.loads(content)), indent=1).encode()

    def _in_words_of_here(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._in_words_of_here(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self._in_words_of_here(one) for one in value]
        if isinstance(value, str):
            for named, path in self.paths.items():
                value = value.replace(path, named)
        return value


def bring(
    directory: RunDirectory,
    name: str,
    storage: Storage,
    settings: Settings,
    resume: bool,
    between: Between,
) -> None:
    """Put what the run's job needs into the storage. The list of it, under `name`, comes first:
    what it names is then removed by nobody.

    Raises StorageTrouble, what `between` raises, and NotFound and EngineError as those who look for
    base, sets and adapter.
    """
    spec = directory.spec()
    named = _named_paths(spec, settings)
    folder = list(_files_to_go_on(directory)) if resume else []
    size = sum(_size(path) for path in named.values()) + sum(map(_size, folder))
    if size > settings.ray_storage_mb * MB:
        raise EngineError(
            tr(
                "The run's base, sets and checkpoints have {size} MB, and LORA_RAY_STORAGE_MB "
                "allows {most}.",
                size=f"{size / MB:,.0f}",
                most=f"{settings.ray_storage_mb:,}",
            ),
            tr("Name the base by its hub id, or raise the limit."),
        )

    to_send: list[tuple[Path, StoredFile]] = []

    def stored(path: Path) -> StoredFile:
        to_send.append((path, stored_as(path, between)))
        return to_send[-1][1]

    try:
        paths = tuple(
            BroughtPath(named=one, name=path.name, files={n: stored(p) for n, p in _files(path)})
            for one, path in named.items()
        )
        files = {path.relative_to(directory.path).as_posix(): stored(path) for path in folder}
        list_of_all = Brought(spec=spec, paths=paths, folder=files)
        storage.write(name, list_of_all.model_dump_json().encode())
        wait_for_sweeps(storage, between)
        for path, listed in to_send:
            if storage.put_file(CONTENT, path, between) != listed:
                raise EngineError(
                    tr("{path} changed while it was sent.", path=path),
                    tr("Start the run again when nothing writes there."),
                )
    except OSError as error:
        raise EngineError(
            tr("A file of the run cannot be read: {reason}.", reason=error),
            tr("See that its base and sets are still there, and start it again."),
        ) from error


def keep_listed(name: str, storage: Storage) -> None:
    """Of a run that is over its base and sets stay listed, for its next job and for other runs; its
    checkpoints lie here. Raises StorageTrouble."""
    content = storage.read(name)
    if content is None:
        return
    listed = Brought.model_validate_json(content)
    storage.write(name, listed.model_copy(update={"folder": {}}).model_dump_json().encode())


def take(
    name: str, storage: Storage, directory: RunDirectory, inputs: Path, between: Between
) -> Renaming:
    """On the node: make the run's folder and, below `inputs`, what its spec names.

    Raises StorageTrouble, and OSError where this disk refuses.
    """
    content = storage.read(name)
    if content is None:
        raise StorageTrouble(
            tr("The storage has no {name}.", name=name),
            tr("See that LORA_RAY_STORAGE is the same place for this node."),
        )
    try:
        brought = Brought.model_validate_json(content)
    except ValidationError as error:
        raise StorageTrouble(
            tr("The storage's list of what the run needs cannot be read."),
            tr("Another version of this program may have written it: start the run again."),
        ) from error
    paths = {}
    for number, one in enumerate(brought.paths):
        root = inputs / str(number)
        for file, stored in one.files.items():
            storage.take_file(CONTENT, stored, root / file, between, root / file)
        paths[one.named] = str(root / one.name)
    renaming = Renaming(brought.spec, _renamed(brought.spec, paths), paths)
    for file, stored in brought.folder.items():
        target = directory.path / file
        storage.take_file(CONTENT, stored, target, between, target)
        if target.name == MANIFEST:
            write_atomically(target, renaming.manifest(target.read_bytes(), to_here=False))
    directory.create(renaming.there)
    return renaming


def refuse_unbringable(spec: RunSpec) -> None:
    """Raises EngineError for a run that needs another run's folder."""
    if spec.extended_from is not None:
        raise EngineError(
            tr("A run that extends another needs that run's folder, and the nodes do not see it."),
            tr("Train it on this machine, or without LORA_RAY_STORAGE on a shared disk."),
        )


def _named_paths(spec: RunSpec, settings: Settings) -> dict[str, Path]:
    """What the spec names that lies on this machine, by the name that it has there."""
    found: dict[str, Path | None] = {}
    if spec.base_model not in BUNDLED:
        found[spec.base_model] = resolve_base_model(spec.base_model, settings).path
    for source in _sources(spec):
        if not source.startswith(STARTER_PREFIX):
            found[source] = path_of_source(source, settings)
    if spec.method.init_from is not None:
        found[spec.method.init_from] = resolve_adapter(spec.method.init_from, settings)
    named = {name: path.absolute() for name, path in found.items() if path is not None}
    for name, path in named.items():
        if not path.exists():
            raise NotFound(
                tr("There is no file {name}.", name=repr(name[:200])),
                tr("Correct dataset.source in the spec."),
            )
    return named


def _sources(spec: RunSpec) -> list[str]:
    dataset = spec.dataset
    parts = [part.source for part in dataset.mixture] or [dataset.source]
    return [*parts, *([] if dataset.eval_source is None else [dataset.eval_source])]


def _renamed(spec: RunSpec, paths: dict[str, str]) -> RunSpec:
    """The spec as the node reads it, with its own paths."""
    document = spec.model_dump(mode="json", exclude_defaults=True)
    dataset = document.get("dataset", {})
    places = [(document, "base_model"), (dataset, "source"), (dataset, "eval_source")]
    places += [(part, "source") for part in dataset.get("mixture", [])]
    places += [(document.get("method", {}), "init_from")]
    for holder, key in places:
        if holder.get(key) in paths:
            holder[key] = paths[holder[key]]
    return RunSpec.model_validate(document)


def _files_to_go_on(directory: RunDirectory) -> Iterator[Path]:
    """What a run writes on: its rows a step, and its whole checkpoints. Before these, what it
    computes in."""
    if (directory.path / PRECISION).is_file():
        yield directory.path / PRECISION
    yield from sorted(directory.path.glob("*.jsonl"))
    for manifest in sorted(directory.checkpoints_path.glob(f"step-*/{MANIFEST}")):
        others = sorted(path for path in manifest.parent.iterdir() if path != manifest)
        yield from [*others, manifest]


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """A file, or every file of a folder that is not hidden; its name with the folder's."""
    if path.is_file():
        yield path.name, path
        return
    for file in sorted(path.rglob("*")):
        inside = file.relative_to(path.parent)
        if file.is_file() and not any(part.startswith(".") for part in inside.parts[1:]):
            yield inside.as_posix(), file


def _size(path: Path) -> int:
    return sum(file.stat().st_size for _, file in _files(path))
