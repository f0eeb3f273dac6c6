"""The rows of a Parquet file, a batch at a time; what it unpacks to is counted meanwhile.

Knows nothing of what columns mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lora_engine.data.text_file import TextBounds
from lora_engine.errors import EngineError
from lora_engine.foreign_files import conversion, name_archive, name_binary, name_text

BATCH_ROWS = 1_000
READ_BYTES = 1 << 20
PARQUET, ZIP = b"PAR1", b"PK\x03\x04"
SAVE_ROWS = "Save the rows as JSON Lines, CSV or Parquet."


def parquet_rows(path: Path, source: str, bounds: TextBounds) -> Iterator[tuple[int, Any]]:
    """Number and values of each row.

    Raises EngineError where the file is no Parquet file, damaged, or unpacks beyond the bounds.
    """
    import pyarrow
    from pyarrow import parquet

    _refuse_others(path, source)
    most = min(bounds.bytes, max(bounds.unpacked, bounds.ratio * path.stat().st_size))
    number = read_bytes = 0
    try:
        with parquet.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                read_bytes += batch.nbytes
                if read_bytes > most:
                    raise EngineError(
                        f"{source} unpacks to more than {most:,} bytes.", "Train on a part of it."
                    )
                for value in batch.to_pylist():
                    number += 1
                    yield number, value
    except OverflowError:  # a date that Python has no number for
        raise EngineError(
            f"{source}: after row {number:,} stands a date beyond the years 1 to 9999.",
            "Write the column of dates as text.",
        ) from None
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        unknown = isinstance(error, NotImplementedError)
        why = "it is packed or encrypted in a way that is not read" if unknown else "it is damaged"
        raise EngineError(
            f"{source} is not a readable Parquet file: {why}.", "Write the file again."
        ) from None


def is_parquet(path: Path) -> bool:
    head, tail = _both_ends(path)
    return head.startswith(PARQUET) and tail == PARQUET


def _both_ends(path: Path) -> tuple[bytes, bytes]:
    with path.open("rb") as file:
        head = file.read(4096)
        file.seek(max(0, path.stat().st_size - len(PARQUET)))
        return head, file.read()


def _refuse_others(path: Path, source: str) -> None:
    """Name what a file is that begins or ends otherwise than Parquet does."""
    head, tail = _both_ends(path)
    if not head.startswith(PARQUET):
        what = name_archive(path) if head.startswith(ZIP) else name_binary(head)
        what = what or name_text(head.decode("utf-8", "replace"))
        shown = f"is {what}" if what else f"begins with the bytes {head[:4].hex(' ') or '(none)'}"
        raise EngineError(
            f"{source} is not a readable Parquet file: it {shown}.",
            conversion(what, SAVE_ROWS) if what else "Give it the ending of what it holds.",
        )
    if tail != PARQUET:
        raise EngineError(
            f"{source} is not a readable Parquet file: its end is missing.",
            "Get it from its source again.",
        )
