"""An object storage that this machine and Ray's nodes reach, as fsspec opens it.

A file is kept in pieces under their own hashes, so a piece is sent once however often it is named,
and what arrives is proved. Small documents lie beside them. Knows nothing of runs.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lora_engine.errors import EngineError
from lora_engine.files import atomic_file
from lora_engine.language import tr

PIECE_BYTES = 8 << 20
MAX_DOCUMENT_BYTES = 20_000_000
SAID = 300  # characters of an error that are shown
URL = re.compile(r"^([a-z][a-z0-9+-]{0,30})://(.+)$")

Between = Callable[[], None]
"""Called between two pieces: a large file is no reason to be silent."""


class StorageTrouble(EngineError):
    """The storage does not give or does not take; it may later."""


class Piece(BaseModel):
    """A part of a file, under its hash."""

    model_config = ConfigDict(frozen=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0, le=PIECE_BYTES)


class StoredFile(BaseModel):
    """A file as the pieces that make it, in their order."""

    model_config = ConfigDict(frozen=True)

    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        return sum(piece.size for piece in self.pieces)


class Storage:
    """A place of fsspec's. Every method raises StorageTrouble."""

    def __init__(self, filesystem: Any, root: str, url: str) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        self._url = url

    def read(self, name: str, most: int = MAX_DOCUMENT_BYTES) -> bytes | None:
        """What lies under a name; None where nothing does."""
        try:
            content = self._filesystem.cat_file(self._path(name), start=0, end=most + 1)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._trouble(error) from error
        if len(content) > most:
            raise self._trouble(ValueError(f"{name} has more than {most:,} bytes"))
        return bytes(content)

    def write(self, name: str, content: bytes) -> None:
        """Whole or not at all: what lay there before is then still there."""
        try:
            self._put(self._path(name), content)
        except Exception as error:
            raise self._trouble(error) from error

    def _put(self, path: str, content: bytes) -> None:
        """A storage of objects takes them whole. A disk that is full keeps a part of them."""
        if not getattr(self._filesystem, "local_file", False):
            self._filesystem.pipe_file(path, content)
            return
        new = f"{path}.{uuid.uuid4().hex}.new"
        try:
            self._filesystem.pipe_file(new, content)
            os.replace(new, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(new)
            raise

    def names(self, folder: str) -> list[str]:
        """What lies in a folder there; nothing where there is none."""
        try:
            found = self._filesystem.ls(self._path(folder), detail=False)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._trouble(error) from error
        return [PurePosixPath(path).name for path in found]

    def try_out(self) -> None:
        """Write a small file there, read it and remove it."""
        name = f"probe-{uuid.uuid4().hex}"
        self.write(name, b"probe")
        try:
            if self.read(name) != b"probe":
                raise self._trouble(ValueError("what was written there is not there"))
        finally:
            self.remove(name)

    def size(self, name: str) -> int | None:
        """How large what lies there is; None where nothing does."""
        try:
            return int(self._filesystem.info(self._path(name))["size"])
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._trouble(error) from error

    def modified(self, name: str) -> datetime | None:
        """When it was written, by the storage's clock; None where it is gone or tells no time."""
        try:
            found: datetime = self._filesystem.modified(self._path(name))
        except (FileNotFoundError, NotImplementedError):
            return None
        except Exception as error:
            raise self._trouble(error) from error
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)

    def remove(self, name: str) -> None:
        """Remove what lies under a name, a folder with all that is in it."""
        try:
            self._filesystem.rm(self._path(name), recursive=True)
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._trouble(error) from error

    def put_content(self, folder: str, content: bytes) -> Piece:
        """Send one piece, where it is not there yet."""
        piece = Piece(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        name = f"{folder}/{piece.sha256}"
        if self.size(name) != piece.size:
            self.write(name, content)
        return piece

    def put_file(self, folder: str, path: Path, between: Between) -> StoredFile:
        """Send a file as it is now; what is written to its end meanwhile is left for later.

        Raises OSError where it cannot be read here."""
        pieces = []
        left = path.stat().st_size
        with path.open("rb") as file:
            while left > 0 and (content := file.read(min(left, PIECE_BYTES))):
                pieces.append(self.put_content(folder, content))
                left -= len(content)
                between()
        return StoredFile(pieces=tuple(pieces))

    def piece(self, folder: str, piece: Piece) -> bytes:
        """The content of a piece, proved by its hash."""
        content = self.read(f"{folder}/{piece.sha256}", PIECE_BYTES)
        if content is None or hashlib.sha256(content).hexdigest() != piece.sha256:
            raise StorageTrouble(
                tr(
                    "{name} in the storage {url} is missing or damaged.",
                    name=f"{folder}/{piece.sha256}",
                    url=self._url,
                ),
                tr("Delete it there, let nothing else write there, and start the run again."),
            )
        return content

    def take_file(
        self, folder: str, stored: StoredFile, target: Path, between: Between, old: Path
    ) -> None:
        """Write a file here, whole or not at all. Pieces that `old` has already are not fetched.

        Raises OSError where it cannot be written."""
        target.parent.mkdir(parents=True, exist_ok=True)
        offset = 0
        with atomic_file(target) as file:
            for piece in stored.pieces:
                file.write(_piece_of(old, offset, piece) or self.piece(folder, piece))
                offset += piece.size
                between()

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _trouble(self, error: Exception) -> StorageTrouble:
        said = f"{type(error).__name__}: {error}"[:SAID].rstrip(".")
        return StorageTrouble(
            tr("The storage {url} cannot be used: {reason}.", url=self._url, reason=said),
            tr("See that it has room, and that this machine and the nodes may read and write it."),
        )


def open_storage(url: str) -> Storage:
    """The storage of a URL. Raises EngineError for one that fsspec does not open here."""
    import fsspec

    found = URL.match(url)
    protocol = "" if found is None else found[1]
    is_disk = protocol in ("file", "local")
    is_relative = is_disk and found is not None and found[2][0] != "/"
    if protocol not in fsspec.available_protocols() or protocol == "memory" or is_relative:
        raise EngineError(
            tr("LORA_RAY_STORAGE is {url}, which names no storage.", url=repr(url[:200])),
            tr("Give a URL that fsspec knows, as s3://bucket/rankscope or file:///mnt/shared."),
        )
    # What others write must be seen, so nothing is remembered.
    options = {"use_listings_cache": False, "skip_instance_cache": True}
    if is_disk:
        options["auto_mkdir"] = True
    try:
        filesystem, root = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise EngineError(
            tr(
                "LORA_RAY_STORAGE is {url}, and the package for {protocol} is missing: {why}.",
                url=repr(url[:200]),
                protocol=f"{protocol}://",
                why=str(error).rstrip("."),
            ),
            tr("Install it here and on the nodes, or choose another storage."),
        ) from error
    except Exception as error:
        raise EngineError(
            tr(
                "LORA_RAY_STORAGE is {url}, and cannot be opened: {reason}.",
                url=repr(url[:200]),
                reason=str(error)[:SAID].rstrip("."),
            ),
            tr("Correct the URL, and the access that this machine has."),
        ) from error
    return Storage(filesystem, root, url)


def stored_as(path: Path, between: Between) -> StoredFile:
    """What a file's pieces are, without sending them. Raises OSError."""
    pieces = []
    with path.open("rb") as file:
        while content := file.read(PIECE_BYTES):
            pieces.append(Piece(sha256=hashlib.sha256(content).hexdigest(), size=len(content)))
            between()
    return StoredFile(pieces=tuple(pieces))


def refuse_outside(name: str) -> str:
    """A file's name below a folder, as it is; ValueError for one that leads out of it."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ValueError("a name below the folder is needed")
    return name


def _piece_of(old: Path, offset: int, piece: Piece) -> bytes | None:
    """The piece as a file here has it at this place; None where it has another."""
    try:
        with old.open("rb") as file:
            file.seek(offset)
            content = file.read(piece.size)
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == piece.sha256 else None
