"""The rows of a large set on disk: parsed once, read in the order they are asked for.

They stand in an Arrow file (`datasets` opens it too) of two columns: the row's number, and what it
says as JSON, its fields in the order of `Row`. Beside it lie 8 bytes a row that tell which rows
say the same, and the set's hash. Knows nothing of files of a person's own, of formats or tokens.
"""

from __future__ import annotations

import dataclasses
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, get_type_hints, overload

from lora_engine.data.cache_folder import Entry, NewEntry
from lora_engine.data.joined_rows import JoinedRows
from lora_engine.data.picked import Picked
from lora_engine.data.rows import LARGE_ROWS, Message, Row, RowsDigest, hash_rows
from lora_engine.data.twins import SHORT_BYTES, content_key, keys_of

if TYPE_CHECKING:
    import numpy as np

BATCH_ROWS = 2_000
BATCH_CHARACTERS = 2_000_000
ROWS, NUMBERS, KEYS, BATCHES = "rows.arrow", "numbers", "keys", "batches"

_FIELDS = tuple(field.name for field in dataclasses.fields(Row) if field.name != "number")
_PARTS = tuple(field.name for field in dataclasses.fields(Message))
_HINTS = get_type_hints(Row)
_TURNS = tuple(i for i, name in enumerate(_FIELDS) if _HINTS[name] == tuple[Message, ...])
_LISTS = tuple(i for i, name in enumerate(_FIELDS) if _HINTS[name] == tuple[str, ...])
_all_fields, _all_parts = attrgetter(*_FIELDS), attrgetter(*_PARTS)
_PLAIN = _all_parts(Message("", ""))[2:]
LAYOUT = (*_FIELDS, *_PARTS)
"""Changes with the fields of a row, so that files written before are not taken for new ones."""


def write_rows(entry: NewEntry, rows: Iterable[Row]) -> str:
    """The files that `StoredRows` reads, with a bounded number of rows in memory; the hash."""
    import pyarrow

    schema = pyarrow.schema([("number", pyarrow.int64()), ("content", pyarrow.large_string())])
    options = pyarrow.ipc.IpcWriteOptions(compression="lz4")
    numbers, batches, keys = array("q"), array("q"), bytearray()
    digest = RowsDigest()
    with pyarrow.ipc.new_file(entry.file(ROWS), schema, options=options) as file:
        for some in _batches(rows):
            for row in some:
                digest.add(row)
                keys += content_key(row)[:SHORT_BYTES]
            numbers.extend(row.number for row in some)
            batches.append(len(numbers))
            columns = [[row.number for row in some], [_as_text(row) for row in some]]
            file.write_batch(pyarrow.record_batch(columns, schema=schema))
    entry.write_array(NUMBERS, numbers)
    entry.write_array(BATCHES, batches)
    entry.write_array(KEYS, keys)
    return digest.content_hash()


class StoredRows(Sequence[Row]):
    """The rows of one entry, decoded as they are asked for; the last batch read is held."""

    def __init__(self, entry: Entry, content_hash: str) -> None:
        import numpy as np
        import pyarrow

        self._entry, self.content_hash = entry, content_hash
        self.numbers = entry.array(NUMBERS, np.int64)
        self._ends = entry.array(BATCHES, np.int64)
        self._file = pyarrow.ipc.open_file(entry.file(ROWS))
        self._held: tuple[int, list[int], list[str]] = (-1, [], [])

    @property
    def keys(self) -> np.ndarray:
        """What twins share, 8 bytes a row (`twins.keys_of`)."""
        import numpy as np

        return self._entry.array(KEYS, np.uint64)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Row]:
        for batch in range(len(self._ends)):
            _, numbers, contents = self._batch(batch)
            yield from map(_from_text, numbers, contents)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Picked[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Picked[Row]:
        import numpy as np

        if isinstance(index, slice):
            return Picked(self, np.arange(len(self))[index])
        place = range(len(self))[index]
        batch = int(np.searchsorted(self._ends, place, side="right"))
        start, numbers, contents = self._batch(batch)
        return _from_text(numbers[place - start], contents[place - start])

    def _batch(self, batch: int) -> tuple[int, list[int], list[str]]:
        """The place of its first row, the numbers and the contents."""
        start = int(self._ends[batch - 1]) if batch else 0
        held = self._held
        if held[0] != start:
            columns = self._file.get_batch(batch)
            # whoever reads beside this one may hold another batch by now
            held = self._held = start, columns[0].to_pylist(), columns[1].to_pylist()
        return held


def row_keys(rows: Sequence[Row]) -> np.ndarray:
    """What twins share, 8 bytes a row."""
    return _of_all(rows, lambda stored: stored.keys, keys_of)


def row_numbers(rows: Sequence[Row]) -> np.ndarray:
    """The number of each row, as in the file, or in a joined set as it counts them."""
    import numpy as np

    found = _of_all(rows, lambda stored: stored.numbers, _numbers_of)
    whole = rows.whole if isinstance(rows, Picked) else rows
    if not isinstance(whole, JoinedRows):
        return found
    added = np.repeat(whole.added, [len(one) for one in whole.sets])
    return found + (added[rows.places] if isinstance(rows, Picked) else added)


def _numbers_of(rows: Sequence[Row]) -> np.ndarray:
    import numpy as np

    return np.fromiter((row.number for row in rows), np.int64, len(rows))


def is_large(rows: Sequence[Row]) -> bool:
    """Whether rows lie on disk, or are too many for their tokens to stand in memory."""
    if isinstance(rows, Picked):
        return len(rows) > LARGE_ROWS or is_large(rows.whole)
    if isinstance(rows, JoinedRows):
        return len(rows) > LARGE_ROWS or any(map(is_large, rows.sets))
    return len(rows) > LARGE_ROWS or isinstance(rows, StoredRows)


def content_hash_of(rows: Sequence[Row]) -> str:
    """`hash_rows`, which is known of rows that lie on disk."""
    return rows.content_hash if isinstance(rows, StoredRows) else hash_rows(rows)


def _of_all(
    rows: Sequence[Row],
    kept: Callable[[StoredRows], np.ndarray],
    made: Callable[[Sequence[Row]], np.ndarray],
) -> np.ndarray:
    """One number a row, which nobody has to decode the rows for where they lie on disk."""
    import numpy as np

    if isinstance(rows, Picked) and isinstance(rows.whole, StoredRows | JoinedRows):
        return _of_all(rows.whole, kept, made)[rows.places]
    if isinstance(rows, JoinedRows):
        return np.concatenate([_of_all(one, kept, made) for one in rows.sets])
    return kept(rows) if isinstance(rows, StoredRows) else made(rows)


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Lists of rows bounded by their number and their characters."""
    some: list[Row] = []
    characters = 0
    for row in rows:
        some.append(row)
        characters += row.characters
        if len(some) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield some
            some, characters = [], 0
    if some:
        yield some


def _as_text(row: Row) -> str:
    """A row but for its number, as JSON: its fields, turns as lists of their parts."""
    values = list(_all_fields(row))
    for place in _TURNS:
        values[place] = [_parts(turn) for turn in values[place]]
    return json.dumps(values, separators=(",", ":"))


def _from_text(number: int, text: str) -> Row:
    values = json.loads(text)
    for place in _TURNS:
        values[place] = tuple(Message(*turn) for turn in values[place])
    for place in _LISTS:
        values[place] = tuple(values[place])
    return Row(number, *values)


def _parts(turn: Message) -> tuple[Any, ...]:
    """The parts of a turn; a plain one is its role and its content."""
    parts = _all_parts(turn)
    return parts if parts[2:] != _PLAIN else parts[:2]
