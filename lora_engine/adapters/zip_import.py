"""An adapter out of a zip archive that somebody sent, unpacked within bounds.

Only the files of an adapter are unpacked, from the archive's root or its one top folder, and under
their own names: no path of the archive reaches the disk. What the archive declares is checked
first, and every byte is counted while it is read, because a declaration may lie.
"""

from __future__ import annotations

import errno
import re
import stat
import zipfile
from pathlib import Path, PurePosixPath

from lora_engine.adapters.config import CONFIG_FILE, WEIGHTS_FILE
from lora_engine.adapters.other_forms import pickled_weights
from lora_engine.errors import EngineError
from lora_engine.foreign_files import ZIP_ERRORS, zip_complaint
from lora_engine.language import tr, translatable
from lora_engine.weights import limits

FILES = (CONFIG_FILE, WEIGHTS_FILE, "provenance.json", "README.md")
"""What an adapter's folder is made of; the first two it must have."""

MAX_BYTES = 4 * 2**30
"""Of one adapter, unpacked: rank 64 on every linear layer of a 70B model in 16 bit is 1.6 GiB."""
MAX_SMALL_FILE_BYTES = 1_000_000
MAX_DIRECTORY_BYTES = 1_000_000
"""Of an archive's list of entries, which Python's reader holds as objects."""
BLOCK_BYTES = 2**20
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""What the disk says while it is written to: no fault of what is read."""
AGAIN = translatable(
    "Zip the adapter's folder again: adapter_config.json and adapter_model.safetensors."
)

_END = b"PK\x05\x06"
_DRIVE = re.compile(r"^[A-Za-z]:")


def unpack_adapter(path: Path, name: str, folder: Path) -> None:
    """Unpack the adapter in the zip `path` into the empty `folder`.

    name: what the person's file is called, for errors. Raises EngineError for what is no sound zip,
    holds paths or links, unpacks to too much, and for one that holds no adapter or several;
    OSError where the disk refuses.
    """
    _refuse_long_directory(path, name)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(name, entries)
            _check_sizes(name, entries)
            chosen = _adapter_files(name, entries)
            _Unpacking(archive, name, path.stat().st_size).unpack(chosen, folder)
    except ZIP_ERRORS as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        raise _bad(name, zip_complaint(error)) from None


def _bad(name: str, what: str) -> EngineError:
    return EngineError(
        tr("{name} is no sound zip of an adapter: {what}.", name=name, what=what), tr(AGAIN)
    )


def _refuse_long_directory(path: Path, name: str) -> None:
    """Refuse a list of entries that is long itself, before Python's reader makes objects of it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 65_557))
        tail = file.read()
    end = tail.rfind(_END)
    if end < 0 or len(tail) < end + 22:
        raise _bad(name, tr("it does not end as a zip does"))
    count = int.from_bytes(tail[end + 10 : end + 12], "little")
    length = int.from_bytes(tail[end + 12 : end + 16], "little")
    if count > limits.MAX_ARCHIVE_ENTRIES or length > MAX_DIRECTORY_BYTES:
        what = tr(
            "it lists {count} entries in {bytes} bytes; allowed are {most} in {most_bytes}",
            count=f"{count:,}",
            bytes=f"{length:,}",
            most=f"{limits.MAX_ARCHIVE_ENTRIES:,}",
            most_bytes=f"{MAX_DIRECTORY_BYTES:,}",
        )
        raise _bad(name, what)


def _check_entries(name: str, entries: list[zipfile.ZipInfo]) -> None:
    """No entry leads out of the archive, is a link, stands there twice or is packed unusually."""
    if not 1 <= len(entries) <= limits.MAX_ARCHIVE_ENTRIES:
        what = tr(
            "it has {count} entries, allowed are 1 to {most}",
            count=f"{len(entries):,}",
            most=f"{limits.MAX_ARCHIVE_ENTRIES:,}",
        )
        raise _bad(name, what)
    seen: set[str] = set()
    for entry in entries:
        # zipfile cuts a name at a zero byte; what stood there is in orig_filename
        shown = repr(entry.orig_filename[:100])
        parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
        if (
            entry.orig_filename != entry.filename
            or "\\" in entry.filename
            or entry.filename.startswith("/")
            or ".." in parts
            or _DRIVE.match(entry.filename)
        ):
            raise _bad(name, tr("the entry {entry} is a path that leads out of it", entry=shown))
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise _bad(name, tr("the entry {entry} is a link", entry=shown))
        if entry.flag_bits & 1:
            raise _bad(name, tr("it is encrypted"))
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            what = tr("the entry {entry} is packed by a method that is not read", entry=shown)
            raise _bad(name, what)
        folded = entry.filename.rstrip("/").casefold()
        if folded in seen:
            raise _bad(name, tr("{entry} stands in it twice", entry=shown))
        seen.add(folded)


def _check_sizes(name: str, entries: list[zipfile.ZipInfo]) -> None:
    total = sum(entry.file_size for entry in entries)
    packed = max(1, sum(entry.compress_size for entry in entries))
    if total > MAX_BYTES:
        what = tr(
            "it unpacks to {bytes} bytes, allowed are {most}",
            bytes=f"{total:,}",
            most=f"{MAX_BYTES:,}",
        )
        raise _bad(name, what)
    if total > limits.RATIO_FREE_BYTES and total / packed > limits.MAX_ARCHIVE_RATIO:
        what = tr(
            "it unpacks to {times} times its size, allowed is {most} times",
            times=f"{total / packed:,.0f}",
            most=limits.MAX_ARCHIVE_RATIO,
        )
        raise _bad(name, what)


def _adapter_files(name: str, entries: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The archive's adapter: file name to entry, from its root or one folder below."""
    by_name = {entry.filename: entry for entry in entries if not entry.is_dir()}
    configs = [
        path
        for path in by_name
        if PurePosixPath(path).name == CONFIG_FILE and not path.startswith("__MACOSX/")
    ]
    if len(configs) != 1:
        listed = ", ".join(repr(path[:100]) for path in configs[:5]) or "none"
        raise EngineError(
            tr(
                "{name} holds one adapter at most, and one at least; found: {listed}.",
                name=name,
                listed=listed,
            ),
            tr("Zip one adapter's folder."),
        )
    folder = configs[0].removesuffix(CONFIG_FILE)
    if folder.count("/") > 1:
        raise EngineError(
            tr(
                "{name} holds its adapter in {folder}; it stands at the archive's root or in "
                "its one top folder.",
                name=name,
                folder=f"{folder[:100]!r}",
            ),
            tr("Zip the adapter's own folder."),
        )
    if f"{folder}{WEIGHTS_FILE}" not in by_name:
        pickled = [path for path in by_name if path.endswith((".bin", ".pt", ".pth", ".pkl"))]
        if pickled:
            raise pickled_weights(name, WEIGHTS_FILE, PurePosixPath(pickled[0]).name[:100])
        raise EngineError(
            tr(
                "{name} is half an adapter: {config_file} without {weights_file}.",
                name=name,
                config_file=CONFIG_FILE,
                weights_file=WEIGHTS_FILE,
            ),
            tr(AGAIN),
        )
    return {file: by_name[folder + file] for file in FILES if folder + file in by_name}


class _Unpacking:
    """Counts what comes out of an archive, over all its entries."""

    def __init__(self, archive: zipfile.ZipFile, name: str, packed: int) -> None:
        self._archive = archive
        self._name = name
        self._most = min(MAX_BYTES, max(limits.RATIO_FREE_BYTES, limits.MAX_ARCHIVE_RATIO * packed))
        self._left = self._most

    def unpack(self, files: dict[str, zipfile.ZipInfo], folder: Path) -> None:
        for name, entry in files.items():
            bound = MAX_SMALL_FILE_BYTES if name != WEIGHTS_FILE else MAX_BYTES
            if entry.file_size > bound:
                what = tr(
                    "{file} has {bytes} bytes, allowed are {most}",
                    file=name,
                    bytes=f"{entry.file_size:,}",
                    most=f"{bound:,}",
                )
                raise _bad(self._name, what)
            written = self._copy(entry, folder / name)
            if written != entry.file_size:
                raise _bad(self._name, tr("{file} is shorter than it declares", file=name))

    def _copy(self, entry: zipfile.ZipInfo, target: Path) -> int:
        written = 0
        with self._archive.open(entry) as packed, target.open("xb") as file:
            while block := packed.read(BLOCK_BYTES):
                written += len(block)
                self._left -= len(block)
                if self._left < 0:
                    what = tr("it unpacks to more than {most} bytes", most=f"{self._most:,}")
                    raise _bad(self._name, what)
                file.write(block)
        return written
