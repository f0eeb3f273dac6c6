"""A folder of sets that are kept for the next run: written whole or not at all, checked, bounded.

An entry is a file or a folder of files. A folder's `manifest.json` is written last and says how
many bytes each file has, and their CRC-32, so that a cut off or damaged one is noticed. Whoever
reads an entry holds a lock on it; the folder stays under its size by removing what was used
longest ago and is locked by nobody. Entries are read with `pread`: pages of a mapped file would
count as this process's memory, and a file cut off meanwhile would end it. Knows nothing of what
the entries mean.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import time
import uuid
import weakref
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from lora_engine.errors import EngineError
from lora_engine.files import move, read_json_object, write_atomically
from lora_engine.language import tr
from lora_engine.operating_system import lock, try_lock

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)
MANIFEST = "manifest.json"
LEFT_OVER_S = 3_600
BLOCK_BYTES = 1 << 20
MAX_MANIFEST_BYTES = 1_000_000_000  # a report may name millions of rows


class EntryFile:
    """A file of a new entry: what is written is counted and summed on the way.

    Its methods raise EngineError where the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        with _told(path):
            self._file = path.open("wb")
        self._path = path
        self.bytes, self.crc = 0, 0

    def write(self, data: bytes | memoryview) -> int:
        view = memoryview(data).cast("B")
        with _told(self._path):
            self._file.write(view)
        self.bytes += len(view)
        self.crc = zlib.crc32(view, self.crc)
        return len(view)

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        with _told(self._path):
            self._file.flush()

    def close(self) -> None:
        """Closes it, once what was written is on the disk."""
        if self._file.closed:
            return
        with _told(self._path), self._file:
            self._file.flush()
            os.fsync(self._file.fileno())

    @property
    def closed(self) -> bool:
        return self._file.closed


class NewEntry:
    """An entry on its way. `report` is what is to be known of it beside its files."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._files: dict[str, EntryFile] = {}
        self.report: dict[str, Any] = {}

    def file(self, name: str) -> EntryFile:
        self._files[name] = EntryFile(self._staging / name)
        return self._files[name]

    def write_array(self, name: str, values: Any) -> None:
        """One whole array of numbers; values: anything with a buffer."""
        self.file(name).write(memoryview(values))

    def close(self) -> None:
        with ExitStack() as stack:  # one that fails leaves no other open
            for file in self._files.values():
                stack.callback(file.close)

    def finish(self) -> None:
        """Writes the manifest, after all files. Raises OSError."""
        files = {name: [file.bytes, file.crc] for name, file in self._files.items()}
        content = json.dumps({"files": files, "report": self.report})
        document = {"crc": zlib.crc32(content.encode()), "content": content}
        write_atomically(self._staging / MANIFEST, json.dumps(document).encode())


class Entry:
    """An entry that was checked, opened for as long as this object lives."""

    def __init__(self, path: Path) -> None:
        """Raises OSError or ValueError where the entry is not there, or not whole."""
        self.path = path
        opened = ExitStack()
        self._close = weakref.finalize(self, opened.close)
        opened.callback(os.close, _locked(path))
        manifest = _checked_manifest(path / MANIFEST)
        self.report: dict[str, Any] = manifest["report"]
        self._files: dict[str, BinaryIO] = {}
        for name, (size, crc) in manifest["files"].items():
            self._files[name] = opened.enter_context((path / name).open("rb", buffering=0))
            if _sum_of(self._files[name].fileno()) != (size, crc):
                raise ValueError(f"{name} is damaged")

    def read(self, name: str, start: int, size: int) -> bytes:
        return os.pread(self._files[name].fileno(), size, start)

    def array(self, name: str, dtype: type[np.generic] | np.dtype) -> np.ndarray:
        """A whole file of numbers, read into memory."""
        import numpy as np

        self._files[name].seek(0)
        return np.fromfile(self._files[name], dtype)

    def file(self, name: str) -> BinaryIO:
        """One of its files, open for as long as the entry is."""
        self._files[name].seek(0)
        return self._files[name]


@dataclass(frozen=True)
class CacheFolder:
    """The entries in `folder`, at most `max_bytes` in all beside those in use."""

    folder: Path
    max_bytes: int

    @contextmanager
    def new_entry(self, name: str) -> Iterator[NewEntry]:
        """An entry to fill, which is there when the block ends without an error.

        Where another process was quicker, its entry is the one that is there. Raises EngineError
        where the disk refuses.
        """
        staging = self.folder / f".{name}.{os.getpid()}-{uuid.uuid4().hex}.staging"
        with ExitStack() as held:
            held.callback(shutil.rmtree, staging, ignore_errors=True)
            with _told(staging):
                staging.mkdir(parents=True)
                held.callback(os.close, _locked(staging))  # it may take hours, and stays
            entry = NewEntry(staging)
            try:
                yield entry
            finally:
                entry.close()
            with _told(staging), suppress(FileExistsError):
                entry.finish()
                _put(staging, self.folder / name)

    def open_entry(self, name: str) -> Entry | None:
        """An entry to read; None where there is none, or a damaged one, which is removed."""
        path = self.folder / name
        if not path.is_dir():
            return None
        try:
            entry = Entry(path)
            os.utime(path)
            return entry
        except FileNotFoundError as error:
            if not path.exists():  # removed meanwhile
                return None
            log.warning("the cache's %s lacks a file and is made again: %s", name, error)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the cache's %s cannot be read and is made again: %s", name, error)
        shutil.rmtree(path, ignore_errors=True)
        return None

    def take_entry(self, name: str, is_kept: bool) -> Entry:
        """The entry that was just made. One that is not kept, or that the folder has no room for,
        is readable for as long as the object lives.

        Raises EngineError where it is gone already.
        """
        entry = self.open_entry(name)
        if entry is None:
            raise EngineError(
                tr(
                    "The set that was just written to {folder} is gone or damaged.",
                    folder=self.folder,
                ),
                tr("Start the run again; look at the disk if this repeats."),
            )
        if not is_kept or _bytes_of(entry.path) > self.max_bytes:
            shutil.rmtree(entry.path, ignore_errors=True)
        self.remove_oldest()
        return entry

    def remove_oldest(self) -> None:
        """Keep the entries used last; remove what a killed process left, once it is an hour old.

        Another process may remove entries meanwhile.
        """
        sizes: dict[Path, tuple[int, int]] = {}
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                status = path.stat()
                if not path.name.startswith("."):
                    sizes[path] = status.st_mtime_ns, _bytes_of(path)
                elif time.time() - status.st_mtime > LEFT_OVER_S:
                    _remove(path)
        total = sum(size for _, size in sizes.values())
        for path in sorted(sizes, key=lambda found: sizes[found][0]):
            if total <= self.max_bytes:
                return
            if _remove(path):
                total -= sizes[path][1]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the disk refuses, in words."""
    try:
        yield
    except OSError as error:
        raise EngineError(
            tr(
                "This set needs room on the disk, and {parent} takes no more: {strerror}.",
                parent=path.parent,
                strerror=error.strerror or error,
            ),
            tr("Make room, or set LORA_DATA_DIR to a folder on a larger disk."),
        ) from error


def _put(staging: Path, target: Path) -> None:
    """Rename a folder. Raises FileExistsError where another of that name holds something."""
    try:
        move(staging, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(target) from None
        raise


def _locked(path: Path) -> int:
    """A folder's descriptor that says to others, for as long as it is open, that it is in use."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    lock(descriptor, shared=True)
    return descriptor


def _remove(path: Path) -> bool:
    """Whether an entry could be removed: not while somebody reads it."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return True
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        if not try_lock(descriptor):
            return False
        shutil.rmtree(path, ignore_errors=True)
        return True
    finally:
        os.close(descriptor)


def _bytes_of(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.iterdir())
    return path.stat().st_size


def _sum_of(descriptor: int) -> tuple[int, int]:
    """Bytes and CRC-32 of an open file."""
    size, crc = 0, 0
    while block := os.pread(descriptor, BLOCK_BYTES, size):
        size += len(block)
        crc = zlib.crc32(block, crc)
    return size, crc


def _checked_manifest(path: Path) -> dict[str, Any]:
    """Raises OSError or ValueError where it is not there, or damaged."""
    document = read_json_object(path, MAX_MANIFEST_BYTES)
    content = document["content"]
    if zlib.crc32(content.encode()) != document["crc"]:
        raise ValueError(f"{path.name} is damaged")
    return json.loads(content)
