"""An adapter as one zip to take along: the same adapter gives the same bytes.

Its known files lie in one folder of the adapter's name, in a fixed order, without times. Weights
are stored as they are, because they hardly shrink. What this writes `zip_import` reads.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

from lora_engine.adapters.summary import AdapterSummary
from lora_engine.adapters.zip_import import FILES
from lora_engine.errors import EngineError
from lora_engine.files import atomic_file
from lora_engine.language import tr

EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can hold
BLOCK_BYTES = 2**20


def file_name(summary: AdapterSummary) -> str:
    """The name of the zip, of letters, digits, dots and dashes."""
    return f"{_folder(summary)}.zip"


def write_zip(summary: AdapterSummary, target: Path) -> Path:
    """Write the zip, whole or not at all, one block of a file in memory.

    Raises EngineError where the disk refuses.
    """
    try:
        with atomic_file(target) as file, zipfile.ZipFile(file, "w") as archive:
            for name in FILES:
                if (summary.path / name).is_file():
                    _add(archive, summary.path / name, f"{_folder(summary)}/{name}")
    except OSError as error:
        raise EngineError(
            tr(
                "{target} cannot be written: {strerror}.",
                target=target,
                strerror=error.strerror or error,
            ),
            tr("Free space there, or give another place; nothing was left."),
        ) from error
    return target


def zip_entry(source: Path, name: str) -> zipfile.ZipInfo:
    """The entry of a file under this name, without its time."""
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = 0o644 << 16
    entry.file_size = source.stat().st_size
    return entry


def _add(archive: zipfile.ZipFile, source: Path, name: str) -> None:
    entry = zip_entry(source, name)
    with source.open("rb") as plain, archive.open(entry, "w") as packed:
        shutil.copyfileobj(plain, packed, BLOCK_BYTES)


def _folder(summary: AdapterSummary) -> str:
    return re.sub(r"[^A-Za-z0-9_.\-]+", "-", summary.name).strip(".-_")[:80] or "adapter"
