"""An export as one zip, made while it is sent: a merged model would fill the disk a second time.

Files are stored as they are, in a fixed order and without times: the same export gives the same
bytes. Knows no form.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from lora_engine.adapters.zip_download import BLOCK_BYTES, zip_entry


class _Sent:
    """A file that can only be written: what was written since the last block."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def block(self) -> bytes:
        block = bytes(self._written)
        self._written.clear()
        return block


def zip_blocks(folder: Path) -> Iterator[bytes]:
    """The files below `folder`, under its name, as blocks of about a MiB. Links are left out.

    Raises OSError for a file that cannot be read.
    """
    sent = _Sent()
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    with zipfile.ZipFile(cast(IO[bytes], sent), "w") as archive:
        for path in sorted(files):
            entry = zip_entry(path, f"{folder.name}/{path.relative_to(folder).as_posix()}")
            with path.open("rb") as plain, archive.open(entry, "w") as packed:
                while data := plain.read(BLOCK_BYTES):
                    packed.write(data)
                    yield sent.block()
    yield sent.block()
