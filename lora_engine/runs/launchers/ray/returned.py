"""What a run's job leaves, through a storage: given by the node, taken here.

The node puts what is new as pieces, and then one index of all its files: whoever reads the index
finds whole checkpoints and a whole adapter, or the older ones. Each job has a folder of its own
there, so a job that lost its right to write overwrites nothing. `result.json` is listed only with
all that came before it, and is written here last.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from lora_engine.files import atomic_folder, read_bounded, write_atomically
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launchers.ray.brought import MANIFEST, MB, FileName, Renaming
from lora_engine.runs.launchers.ray.storage import (
    PIECE_BYTES,
    Between,
    Storage,
    StorageTrouble,
    StoredFile,
)

INDEX = "index.json"
LOG = "worker.log"
RESULT = "result.json"
SEEN = "ray_log.txt"
NOT_GIVEN = frozenset(
    {"spec.json", "lock", "worker.json", "stop", "waiting.json"}
    | {"ray.json", "heartbeat.json", "queue.json", "trouble.json", SEEN}
)
"""What each machine has its own of: none of it is given, and none is taken."""
MAX_RENAMED_BYTES = 50_000_000
STEP = re.compile(rf"checkpoints/step-(\d{{1,12}})/{MANIFEST}")


def _is_given(name: str) -> bool:
    """Whether this first part of a file's name is of what a run leaves."""
    return name not in NOT_GIVEN and not name.startswith(".")


def _refuse_own(name: str) -> str:
    if not _is_given(name.split("/")[0]):
        raise ValueError("a file that a run leaves is needed")
    return name


class Index(BaseModel):
    """Every file that the job has left so far."""

    model_config = ConfigDict(frozen=True)

    files: dict[Annotated[FileName, AfterValidator(_refuse_own)], StoredFile]


class Giver:
    """On the node: puts what is new in the run's folder under `name` in the storage."""

    def __init__(
        self, directory: RunDirectory, storage: Storage, name: str, renaming: Renaming
    ) -> None:
        self._directory, self._storage, self._name = directory, storage, name
        self._renaming = renaming
        self._sent: dict[str, tuple[tuple[int, ...], StoredFile]] = {}
        self._index = Index(files={})

    def give(self, between: Between) -> None:
        """Raises StorageTrouble; what was given before is still there then."""
        is_over = self._directory.result_path.exists()  # asked first: all before it is whole
        files: dict[str, StoredFile] = {}
        for unit in self._units():
            files.update(self._stored_unit(unit, between))
        if is_over:
            files.update(self._stored_unit(self._directory.result_path, between))
        index = Index(files=files)
        if index == self._index:
            return
        self._storage.write(f"{self._name}/{INDEX}", index.model_dump_json().encode())
        gone = _hashes(self._index) - _hashes(index)
        self._index = index
        self._sent = {name: sent for name, sent in self._sent.items() if name in files}
        for piece in gone:
            self._storage.remove(f"{self._name}/pieces/{piece}")

    def _units(self) -> Iterator[Path]:
        """Files, and folders that are whole or not there, without the result."""
        for path in sorted(self._directory.path.iterdir()):
            if path.name == RESULT or not _is_given(path.name):
                continue
            if path == self._directory.checkpoints_path:
                yield from sorted(manifest.parent for manifest in path.glob(f"step-*/{MANIFEST}"))
            else:
                yield path

    def _stored_unit(self, unit: Path, between: Between) -> dict[str, StoredFile]:
        """Nothing where it went away or was replaced meanwhile: the next time it is seen anew."""
        try:
            before = unit.stat().st_ino
            paths = [unit] if unit.is_file() else sorted(p for p in unit.rglob("*") if p.is_file())
            stored = {
                path.relative_to(self._directory.path).as_posix(): self._stored(path, between)
                for path in paths
            }
            return stored if unit.is_file() or unit.stat().st_ino == before else {}
        except FileNotFoundError:
            return {}

    def _stored(self, path: Path, between: Between) -> StoredFile:
        name = path.relative_to(self._directory.path).as_posix()
        seen = path.stat()
        mark = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
        known = self._sent.get(name)
        if known is not None and known[0] == mark:
            return known[1]
        pieces = f"{self._name}/pieces"
        if path.suffix == ".json" and seen.st_size <= MAX_RENAMED_BYTES:
            content = self._in_words_of_here(path)
            parts = [content[i : i + PIECE_BYTES] for i in range(0, len(content), PIECE_BYTES)]
            sent = tuple(self._storage.put_content(pieces, part) for part in parts)
            stored = StoredFile(pieces=sent)
        else:
            stored = self._storage.put_file(pieces, path, between)
        self._sent[name] = mark, stored
        return stored

    def _in_words_of_here(self, path: Path) -> bytes:
        content = read_bounded(path, MAX_RENAMED_BYTES)
        if path.name == MANIFEST:
            return self._renaming.manifest(content, to_here=True)
        return self._renaming.document(content)


class Taker:
    """Here: brings into the run's folder what its job has put under `name`."""

    def __init__(self, directory: RunDirectory, storage: Storage, name: str, most_mb: int) -> None:
        self._directory, self._storage, self._name = directory, storage, name
        self._most_mb = most_mb
        self._taken: dict[str, dict[str, StoredFile]] = {}

    def newest_step(self) -> int:
        """Of the checkpoints that the job has left; 0 where there are none. Raises as `take`."""
        content = self._storage.read(f"{self._name}/{INDEX}")
        return 0 if content is None else newest_step(self._checked(content).files)

    def take(self) -> None:
        """Raises StorageTrouble; what was taken before is still there then."""
        content = self._storage.read(f"{self._name}/{INDEX}")
        while content is not None:
            try:
                self._take_all(self._checked(content))
                return
            except StorageTrouble:
                newer = self._storage.read(f"{self._name}/{INDEX}")
                if newer == content:
                    raise
                content = newer  # the job has gone on, and removed what it lists no more

    def _take_all(self, index: Index) -> None:
        units = _units_of(index)
        result = units.pop(RESULT, None)
        log = units.pop(LOG, None)
        try:
            for unit, files in units.items():
                self._take_unit(unit, files)
            self._remove_old_checkpoints(set(units))
            if log is not None:
                self._append_log(log[LOG])
            if result is not None:
                self._take_unit(RESULT, result)
        except OSError as error:
            raise StorageTrouble(
                tr("What the run left cannot be written here: {reason}.", reason=error),
                tr("Make room on this machine's disk. Nothing in the storage is deleted."),
            ) from error

    def _checked(self, content: bytes) -> Index:
        try:
            index = Index.model_validate_json(content)
        except ValidationError as error:
            raise StorageTrouble(
                tr("The storage's list of the run's files cannot be read."),
                tr("It is read again; start the run anew if it stays so."),
            ) from error
        size = sum(stored.size for stored in index.files.values())
        if size > self._most_mb * MB:
            raise StorageTrouble(
                tr(
                    "The run left {size} MB, and LORA_RAY_STORAGE_MB allows {most}.",
                    size=f"{size / MB:,.0f}",
                    most=f"{self._most_mb:,}",
                ),
                tr("Raise the limit, or save fewer checkpoints."),
            )
        return index

    def _take_unit(self, unit: str, files: dict[str, StoredFile]) -> None:
        if self._taken.get(unit) == files:
            return
        target = self._directory.path / unit
        if set(files) == {unit}:
            self._take_file(files[unit], target, target)
        else:
            target.parent.mkdir(exist_ok=True)
            with atomic_folder(target) as staging:
                for name, stored in files.items():
                    inside = Path(name).relative_to(unit)
                    self._take_file(stored, staging / inside, target / inside)
        self._taken[unit] = files

    def _take_file(self, stored: StoredFile, target: Path, old: Path) -> None:
        pieces = f"{self._name}/pieces"
        self._storage.take_file(pieces, stored, target, between=lambda: None, old=old)

    def _remove_old_checkpoints(self, listed: set[str]) -> None:
        """Those that the job has removed, once there are others."""
        checkpoints = self._directory.checkpoints_path
        if not any(unit.startswith("checkpoints/") for unit in listed):
            return
        for path in checkpoints.glob("step-*"):
            if f"checkpoints/{path.name}" not in listed:
                shutil.rmtree(path, ignore_errors=True)

    def _append_log(self, stored: StoredFile) -> None:
        """The log here has words of this machine too, so the job's are added to its end."""
        mark = self._directory.path / SEEN
        known = mark.read_text("utf-8").split() if mark.exists() else []
        done = int(known[1]) if len(known) == 2 and known[0] == self._name else 0
        offset, new = 0, b""
        for piece in stored.pieces:
            if offset + piece.size > done:
                content = self._storage.piece(f"{self._name}/pieces", piece)
                new += content[max(0, done - offset) :]
            offset += piece.size
        if new:
            with self._directory.log_path.open("ab") as file:
                file.write(new)
            write_atomically(mark, f"{self._name} {offset}".encode())


def newest_step(names: Iterable[str]) -> int:
    """The highest step of a whole checkpoint among these files of a run; 0 for none."""
    return max((int(found[1]) for found in map(STEP.fullmatch, names) if found), default=0)


def _hashes(index: Index) -> set[str]:
    return {piece.sha256 for stored in index.files.values() for piece in stored.pieces}


def _units_of(index: Index) -> dict[str, dict[str, StoredFile]]:
    """The files by what has to be taken whole: a file, a checkpoint, another folder."""
    units: dict[str, dict[str, StoredFile]] = {}
    for name, stored in index.files.items():
        parts = name.split("/")
        depth = 2 if parts[0] == "checkpoints" else 1
        units.setdefault("/".join(parts[:depth]), {})[name] = stored
    return units
