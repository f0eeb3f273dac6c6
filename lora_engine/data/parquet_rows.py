"""The rows of a Parquet file, a batch at a time; what it unpacks to is counted meanwhile.

Knows nothing of what columns mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_engine.data.text_file import TextBounds
from lora_engine.errors import EngineError
from lora_engine.foreign_files import conversion, name_archive, name_binary, name_text
from lora_engine.guard import OutOfBounds, run_guarded, stream_guarded
from lora_engine.language import tr, translatable

if TYPE_CHECKING:
    from pyarrow import Array, Buffer, RecordBatch
    from pyarrow.parquet import ColumnChunkMetaData, ParquetFile

BATCH_ROWS, FEWEST_ROWS = 1_000, 32
BATCH_BYTES = 64_000_000
"""Of a batch where each of its rows is as long as a whole column is in the file."""
TIGHT_BYTES = 64_000_000
"""What a file may unpack to that is packed tighter than the ratio: one text, repeated."""
READ_BYTES = 1 << 20
PIECE_BYTES, PIECE_VALUES = 16_000_000, 1_000_000
"""Of what is handed over at once, and of one row."""
SECONDS, MEMORY_BYTES = 4, 320 << 20
"""Of the process that unpacks; the time is that of one piece."""
PARQUET, ZIP = b"PAR1", b"PK\x03\x04"
SAVE_ROWS = translatable("Save the rows as JSON Lines, CSV or Parquet.")


def parquet_rows(path: Path, source: str, bounds: TextBounds) -> Iterator[tuple[int, Any]]:
    """Number and values of each row.

    The file is unpacked in a guarded process, which hands over batches of bounded size.
    Raises EngineError where the file is no Parquet file, damaged, or unpacks beyond the bounds.
    """
    from pyarrow import ipc

    _refuse_others(path, source)
    tight = min(bounds.unpacked, TIGHT_BYTES)
    most = min(bounds.bytes, max(tight, bounds.ratio * path.stat().st_size))
    number = 0
    arguments = [path, source, most, bounds.ratio]
    try:
        with closing(
            stream_guarded(
                unpacked,
                arguments,
                seconds=SECONDS,
                memory_bytes=MEMORY_BYTES,
                output_bytes=4 * PIECE_BYTES,
                libraries=["pyarrow.parquet"],
            )
        ) as pieces:
            for piece in pieces:
                with ipc.open_stream(piece) as stream:
                    values = stream.read_next_batch().to_pylist()
                for value in values:
                    number += 1
                    yield number, value
    except OutOfBounds as error:
        raise _unreadable(source, str(error)) from None
    except (OverflowError, ValueError):  # a date that Python has no number for
        raise EngineError(
            tr(
                "{source}: after row {number} stands a date beyond the years 1 to 9999.",
                source=source,
                number=f"{number:,}",
            ),
            tr("Write the column of dates as text."),
        ) from None


def unpacked(path: Path, source: str, most: int, ratio: int) -> Iterator[Buffer]:
    """Batches of rows, each as an Arrow stream of its own. Runs in a guarded process."""
    import pyarrow
    from pyarrow import ipc, parquet

    read_bytes = 0
    try:
        with parquet.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
            if _declared_bytes(file) > most:
                raise _too_large(source, most)
            for batch in _batches(file, ratio):
                read_bytes += batch.nbytes
                if read_bytes > most:
                    raise _too_large(source, most)
                for piece in _pieces(batch, source):
                    sink = pyarrow.BufferOutputStream()
                    with ipc.new_stream(sink, piece.schema) as stream:
                        stream.write_batch(piece)
                    yield sink.getvalue()
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        unknown = isinstance(error, NotImplementedError)
        why = (
            tr("it is packed or encrypted in a way that is not read")
            if unknown
            else tr("it is damaged")
        )
        raise _unreadable(source, why) from None


def _unreadable(source: str, why: str) -> EngineError:
    return EngineError(
        tr("{source} is not a readable Parquet file: {why}.", source=source, why=why),
        tr("Write the file again."),
    )


def is_small_parquet(path: Path, most_bytes: int, most_values: int, ratio: int) -> bool:
    """Whether it has few values and bytes, unpacked; true where the file is damaged, which reading
    it tells."""
    try:
        return bool(
            run_guarded(
                unpacks_to_little,
                [path, most_bytes, most_values, ratio],
                seconds=SECONDS,
                memory_bytes=MEMORY_BYTES,
                libraries=["pyarrow.parquet"],
            )
        )
    except OutOfBounds:
        return True


def unpacks_to_little(path: Path, most_bytes: int, most_values: int, ratio: int) -> bool:
    """`is_small_parquet`: what the file says is believed only where it says that it is large. Runs
    in a guarded process."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            if _declared_bytes(file) > most_bytes:
                return False
            for batch in _batches(file, ratio):
                most_bytes -= batch.nbytes
                most_values -= _values(batch.columns)
                if min(most_bytes, most_values) < 0:
                    return False
            return True
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError):
        return True


def _pieces(batch: RecordBatch, source: str) -> Iterator[RecordBatch]:
    """The batch in parts whose bytes and values are bounded. Raises EngineError for a row that
    alone has more."""
    batch.validate(full=True)
    if batch.nbytes <= PIECE_BYTES and _values(batch.columns) <= PIECE_VALUES:
        yield batch
    elif batch.num_rows > 1:
        half = batch.num_rows // 2
        yield from _pieces(batch.slice(0, half), source)
        yield from _pieces(batch.slice(half), source)
    else:
        raise EngineError(
            tr(
                "{source} has a row of more than {most} bytes or {values} values.",
                source=source,
                most=f"{PIECE_BYTES:,}",
                values=f"{PIECE_VALUES:,}",
            ),
            tr("Leave out the columns that are not trained on."),
        )


def _values(columns: Sequence[Array]) -> int:
    """How many there are, those in lists, maps and records included."""
    from pyarrow import types

    count = 0
    for column in columns:
        count += len(column)
        if types.is_struct(column.type):
            count += _values(column.flatten())
        elif types.is_map(column.type):
            count += _values([column.keys, column.items])
        elif types.is_nested(column.type) and not types.is_union(column.type):
            count += _values([column.flatten()])
    return count


def _batches(file: ParquetFile, ratio: int) -> Iterator[RecordBatch]:
    """The rows in batches, small where a column may hold one long text that many rows point to.

    Such a text counts once in the file and once for each row in memory.
    """
    from pyarrow import types

    schema = file.schema_arrow
    shared = [at for at, one in enumerate(schema.types) if types.is_dictionary(one)]
    for group in range(file.num_row_groups):
        meta = file.metadata.row_group(group)
        columns = [meta.column(at) for at in range(meta.num_columns)]
        largest = max((one.total_uncompressed_size for one in columns), default=0)
        is_packed_tight = any(
            one.total_uncompressed_size > ratio * one.total_compressed_size for one in columns
        )
        fewest = 1 if is_packed_tight else FEWEST_ROWS
        rows = min(BATCH_ROWS, max(fewest, BATCH_BYTES // max(1, largest)))
        for batch in file.iter_batches(batch_size=rows, row_groups=[group]):
            yield _written_out(batch, shared)


def _written_out(batch: RecordBatch, shared: Sequence[int]) -> RecordBatch:
    """The batch with every text for itself, so that its bytes count once a row. shared: the places
    of the columns whose rows point to texts."""
    for place in shared:
        column = batch.column(place).dictionary_decode()
        batch = batch.set_column(place, batch.schema.names[place], column)
    return batch


def _columns(file: ParquetFile) -> Iterator[ColumnChunkMetaData]:
    for group in range(file.num_row_groups):
        meta = file.metadata.row_group(group)
        yield from (meta.column(at) for at in range(meta.num_columns))


def _declared_bytes(file: ParquetFile) -> int:
    return sum(column.total_uncompressed_size for column in _columns(file))


def _too_large(source: str, most: int) -> EngineError:
    return EngineError(
        tr("{source} unpacks to more than {most} bytes.", source=source, most=f"{most:,}"),
        tr("Train on a part of it."),
    )


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
        raise EngineError(
            tr(
                "{source} is not a readable Parquet file: it is {what}."
                if what
                else "{source} is not a readable Parquet file: it begins with the bytes {bytes}.",
                source=source,
                what=tr(what or ""),
                bytes=head[:4].hex(" ") or "-",
            ),
            conversion(what, tr(SAVE_ROWS)) if what else tr("Give it the ending of what it holds."),
        )
    if tail != PARQUET:
        raise EngineError(
            tr("{source} is not a readable Parquet file: its end is missing.", source=source),
            tr("Get it from its source again."),
        )
