"""The exports in the data folder: what the dashboard wrote, each a folder under its name.

Knows no form: an export is whatever its folder holds.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lora_engine.access import deed, forget_owner, is_mine
from lora_engine.adapters.names import named_folder
from lora_engine.errors import EngineError, NotFound
from lora_engine.export.zip_download import zip_blocks
from lora_engine.language import tr
from lora_engine.settings import Settings


@dataclass(frozen=True)
class WrittenExport:
    """A folder with an export. bytes: of its files; written_at: ISO 8601 in UTC."""

    name: str
    path: Path
    bytes: int
    written_at: str


class WrittenExports:
    """The exports that are there, by name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._root = settings.data_dir / "exports"

    def folder(self, name: str) -> Path:
        """Where an export of this name is written. Raises InvalidInput."""
        return named_folder(self._root, name, tr("The export"))

    def list(self) -> list[WrittenExport]:
        """All of them, newest first; one that is half written is none yet."""
        folders = [one for one in self._root.glob("[!.]*") if one.is_dir() and is_mine(one)]
        found = map(_described, folders)
        return sorted(found, key=lambda one: (one.written_at, one.name), reverse=True)

    @deed("delete export")
    def delete(self, name: str) -> None:
        """Delete one for good. Raises InvalidInput, NotFound, and EngineError where the disk
        refuses."""
        folder = self._there(name)
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise EngineError(
                tr(
                    "{folder} could not be deleted: {strerror}.",
                    folder=folder,
                    strerror=error.strerror or error,
                ),
                tr("Delete the folder by hand."),
            ) from error
        forget_owner(folder)

    def zip_blocks(self, name: str) -> Iterator[bytes]:
        """One of them as a zip, a block after the other. Raises InvalidInput and NotFound."""
        return zip_blocks(self._there(name))

    def _there(self, name: str) -> Path:
        folder = self.folder(name)
        if not folder.is_dir() or not is_mine(folder):
            raise NotFound(
                tr("There is no export {name}.", name=f"{name!r}"),
                tr("Export the adapter under this name."),
            )
        return folder


def _described(folder: Path) -> WrittenExport:
    files = [path.stat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    newest = max((one.st_mtime for one in files), default=folder.stat().st_mtime)
    written = datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds")
    return WrittenExport(folder.name, folder, sum(one.st_size for one in files), written)
