"""Reading and writing files so that a crash, a full disk or a second reader meets whole content.

A file or a folder is written beside its place, synced to the disk and renamed there: whoever
looks finds the old content or the new. JSON Lines are appended line by line, and a reader skips
the line that a kill tore. Readers bound what they take. Knows nothing of what the files mean.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import BaseModel, ValidationError

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.operating_system import try_lock

Row = TypeVar("Row", bound=BaseModel)

MAX_PATH_BYTES = 3_000
"""Of a path that a person gives; Linux takes 4,096 with what is joined to it."""
NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL})
"""What the disk says where there is no plain file."""

_numbers = itertools.count()  # two threads of a process never share a temporary file


class TooLarge(ValueError):
    """A file with more bytes than its reader takes."""


class BeingWritten(OSError):
    """A folder that another process or thread is filling."""

    def __init__(self, staging: Path) -> None:
        super().__init__(errno.EBUSY, "another is writing it at this moment", str(staging))


def given_path(text: str | Path) -> Path:
    """The path that a person's text means, whether something is there or not.

    `~` is the home folder. Raises EngineError for a text that the disk takes as no path, such as
    one too long, and for a path that it does not let this program see.
    """
    path = Path(os.path.expanduser(text))
    reason = _no_path(path)
    if reason is None:
        return path
    shown = f"{str(text)[:100]!r}{' …' if len(str(text)) > 100 else ''}"
    raise EngineError(
        tr("{shown} cannot be a path here: {reason}.", shown=shown, reason=reason),
        tr("Give another name or path."),
    )


def _no_path(path: Path) -> str | None:
    """Why the disk takes this as no path; None where it does."""
    if str(path).startswith("~"):
        return "~name is the home folder of a user, and no user here has this name"
    try:
        if len(os.fsencode(path)) > MAX_PATH_BYTES:
            return f"it is longer than {MAX_PATH_BYTES:,} bytes"
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:  # UnicodeEncodeError is one too
        return "it holds a character that no file's name can have"
    except OSError as error:
        return error.strerror
    return None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises OSError; the old content is then still there."""
    with atomic_file(path) as file:
        file.write(content)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` when the block ends without an error."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{next(_numbers)}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `folder` when the block ends without an
    error. After an error `folder` is as it was.

    A kill between the two renames that replace a folder leaves neither under that name. Raises
    BeingWritten where another fills the same folder; what a killed one left is removed.
    """
    staging = folder.with_name(f".{folder.name}.staging")
    old = folder.with_name(f".{folder.name}.old")
    with _claimed(staging):
        shutil.rmtree(old, ignore_errors=True)
        try:
            yield staging
            _sync_tree(staging)
            if folder.exists():
                os.replace(folder, old)
            try:
                os.replace(staging, folder)
            except BaseException:
                if old.exists():
                    os.replace(old, folder)
                raise
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    sync_directory(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _claimed(staging: Path) -> Iterator[None]:
    """A new, empty folder whose lock says that somebody lives who fills it."""
    if staging.exists():
        with _locked_folder(staging):
            shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir()
    except FileExistsError:  # another came between
        raise BeingWritten(staging) from None
    with _locked_folder(staging):
        yield


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """The folder's lock, which the kernel drops when its holder dies. Raises BeingWritten where
    another holds it, or has put another folder there."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BeingWritten(folder) from None
    try:
        if not try_lock(descriptor):
            raise BeingWritten(folder)
        if not (folder.exists() and os.path.samestat(folder.stat(), os.fstat(descriptor))):
            raise BeingWritten(folder)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which becomes `folder` when the block ends without an error.

    Raises FileExistsError, also where `folder` has come to be meanwhile. Two that fill the same
    folder do not meet before the end.
    """
    staging = folder.with_name(f".{folder.name}.{os.getpid()}-{next(_numbers)}.staging")
    if os.path.lexists(folder):
        raise FileExistsError(folder)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        _sync_tree(staging)
        os.replace(staging, folder)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError) and error.errno == errno.ENOTEMPTY:
            raise FileExistsError(folder) from None
        raise
    sync_directory(folder.parent)


def move(source: Path, target: Path) -> None:
    """Rename a file or a folder within one file system, so that the rename survives a crash."""
    os.replace(source, target)
    sync_directory(target.parent)


def sync_directory(path: Path) -> None:
    """Make a rename in `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            _sync_tree(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_directory(folder)


class LineWriter:
    """Appends lines to a file, each write in one call, so that a reader sees whole lines.

    Where a kill tore the last line, the next one starts on a line of its own.
    """

    def __init__(self, path: Path) -> None:
        torn = not read_tail(path, 1).endswith(b"\n")
        self._file = path.open("ab", buffering=0)
        if torn and self._file.tell() > 0:
            self._file.write(b"\n")

    def write(self, *lines: bytes) -> None:
        """Append lines, given without their newline. Raises OSError where the disk refuses."""
        content = b"".join(line + b"\n" for line in lines)
        written = self._file.write(content)
        if written < len(content):
            # a full disk takes what still fits, and fails only at the next write
            self._file.write(content[written:])

    def close(self) -> None:
        self._file.close()


def append_rows(path: Path, rows: Sequence[BaseModel]) -> None:
    """Add one JSON document a row to a file of JSON Lines."""
    writer = LineWriter(path)
    try:
        writer.write(*(row.model_dump_json().encode() for row in rows))
    finally:
        writer.close()


def read_rows(path: Path, kind: type[Row], most_bytes: int | None = None) -> Iterator[Row]:
    """The rows of a file of JSON Lines, at most the first `most_bytes` of it.

    A line that is no `kind`, such as one that a kill tore and a resumed worker went on after, is
    skipped. A file that does not exist has no rows, nor has a folder or a device in its place.
    """
    file = _opened(path)
    if file is None:
        return
    with file:
        left = most_bytes
        while (line := file.readline(-1 if left is None else left)).endswith(b"\n"):
            if left is not None:
                left -= len(line)
            row = parse_row(line, kind)
            if row is not None:
                yield row


def parse_row(line: bytes, kind: type[Row]) -> Row | None:
    """The row in one line of JSON Lines, None where the line is no `kind`."""
    try:
        return kind.model_validate_json(line)
    except ValidationError:
        return None


def read_tail(path: Path, size: int) -> bytes:
    """The last `size` bytes of a file; empty where there is none."""
    file = _opened(path)
    if file is None:
        return b""
    with file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - size))
        return file.read(size)


def _opened(path: Path) -> BinaryIO | None:
    """A plain file to read; None where there is none, whatever else is in its place."""
    try:
        return open(path, "rb", opener=_regular_file)
    except OSError as error:
        if error.errno in NO_FILE:
            return None
        raise


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """The whole content. Raises OSError, also for a pipe or a device, which may never end, or
    TooLarge for more than `most_bytes`."""
    with open(path, "rb", opener=_regular_file) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise TooLarge(f"{path.name} has more than {most_bytes:,} bytes")
    return content


def _regular_file(path: str, flags: int) -> int:
    """A descriptor of a file that lies on the disk. Opening a pipe would wait for its writer."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        os.close(descriptor)
        code = errno.EISDIR if is_folder else errno.EINVAL
        raise OSError(code, os.strerror(code) if is_folder else "Not a plain file", path)
    return descriptor


def read_json_object(path: Path, most_bytes: int = 1_000_000) -> dict[str, Any]:
    """The JSON object in a file.

    Raises OSError; TooLarge for more than `most_bytes`; ValueError for what is no JSON object.
    """
    try:
        document = json.loads(read_bounded(path, most_bytes))
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path.name} holds no JSON object but {type(document).__name__}")
    return document
