"""Tokenized rows of a large set on disk: written as they are made, read row by row.

Ids and labels lie end to end as 32-bit numbers; where each row ends, its number, and how many of
its tokens are learned stand in memory, 25 bytes a row. Knows nothing of templates or models.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, overload

from lora_engine.data.cache_folder import Entry, NewEntry
from lora_engine.data.picked import Picked, picked
from lora_engine.data.row_store import row_numbers
from lora_engine.data.rows import Row
from lora_engine.data.tokenization import IGNORED, TokenizedRow

if TYPE_CHECKING:
    import numpy as np

BUFFERED_TOKENS = 1_000_000
READ_ROWS = 2_000


def write_tokens(entry: NewEntry, rows: Iterable[TokenizedRow]) -> None:
    """The files that `StoredTokens` reads, with a bounded number of rows in memory."""
    ids, labels = array("i"), array("i")
    ends, label_ends, numbers = array("q"), array("q"), array("q")
    learned, truncated = array("i"), bytearray()
    id_file, label_file = entry.file("input_ids"), entry.file("labels")
    count, label_count = 0, 0
    for row in rows:
        ids.extend(row.input_ids)
        labels.extend(row.labels)
        count += len(row.input_ids)
        label_count += len(row.labels)
        ends.append(count)
        label_ends.append(label_count)
        numbers.append(row.number)
        learned.append(len(row.labels) - row.labels.count(IGNORED))
        truncated.append(row.truncated)
        if len(ids) >= BUFFERED_TOKENS:
            id_file.write(memoryview(ids))
            label_file.write(memoryview(labels))
            ids, labels = array("i"), array("i")
    id_file.write(memoryview(ids))
    label_file.write(memoryview(labels))
    for name, values in (
        ("ends", ends), ("label_ends", label_ends), ("numbers", numbers),
        ("learned", learned), ("truncated", truncated),
    ):  # fmt: skip
        entry.write_array(name, values)


class StoredTokens(Sequence[TokenizedRow]):
    """The rows of one entry, decoded as they are asked for."""

    def __init__(self, entry: Entry) -> None:
        import numpy as np

        self._entry = entry
        self._ends = entry.array("ends", np.int64)
        self._label_ends = entry.array("label_ends", np.int64)
        self.numbers = entry.array("numbers", np.int64)
        self.learned = entry.array("learned", np.int32)
        self._truncated = entry.array("truncated", np.bool_)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each row."""
        import numpy as np

        return np.diff(self._ends, prepend=0).astype(np.int32)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> TokenizedRow: ...
    @overload
    def __getitem__(self, index: slice) -> Picked[TokenizedRow]: ...
    def __getitem__(self, index: int | slice) -> TokenizedRow | Picked[TokenizedRow]:
        import numpy as np

        if isinstance(index, slice):
            return Picked(self, np.arange(len(self))[index])
        place = range(len(self))[index]
        return next(self._rows(place, place + 1))

    def __iter__(self) -> Iterator[TokenizedRow]:
        for start in range(0, len(self), READ_ROWS):
            yield from self._rows(start, min(start + READ_ROWS, len(self)))

    def _rows(self, start: int, stop: int) -> Iterator[TokenizedRow]:
        ids, ends = self._values("input_ids", self._ends, start, stop)
        labels, label_ends = self._values("labels", self._label_ends, start, stop)
        first, first_label = 0, 0
        for number, end, label_end, is_truncated in zip(
            self.numbers[start:stop].tolist(),
            ends,
            label_ends,
            self._truncated[start:stop].tolist(),
            strict=True,
        ):
            row_labels = tuple(labels[first_label:label_end])
            yield TokenizedRow(number, tuple(ids[first:end]), row_labels, is_truncated)
            first, first_label = end, label_end

    def _values(
        self, name: str, ends: np.ndarray, start: int, stop: int
    ) -> tuple[list[int], list[int]]:
        """The numbers of some rows, and where each of these rows ends among them."""
        import numpy as np

        first = int(ends[start - 1]) if start else 0
        size = int(ends[stop - 1]) - first
        values = np.frombuffer(self._entry.read(name, 4 * first, 4 * size), np.int32)
        return values.tolist(), (ends[start:stop] - first).tolist()


def lengths_of(rows: Sequence[TokenizedRow]) -> np.ndarray:
    """Tokens of each row."""
    return _of_each(rows, lambda stored: stored.lengths, lambda row: len(row.input_ids))


def learned_of(rows: Sequence[TokenizedRow]) -> np.ndarray:
    """Supervised tokens of each row."""
    return _of_each(
        rows,
        lambda stored: stored.learned,
        lambda row: len(row.labels) - row.labels.count(IGNORED),
    )


def numbers_of(rows: Sequence[TokenizedRow]) -> np.ndarray:
    """The number of each row, as in the file."""
    return _of_each(rows, lambda stored: stored.numbers, lambda row: row.number)


def pieces_of(tokens: Sequence[TokenizedRow], rows: Sequence[Row]) -> Sequence[TokenizedRow]:
    """What these rows became, in their order: one sequence each, several of a long text, or none.

    tokens: those of all rows of the set, told by their numbers.
    """
    import numpy as np

    numbers, wanted = numbers_of(tokens), row_numbers(rows)
    in_order = None if np.all(numbers[1:] >= numbers[:-1]) else np.argsort(numbers, kind="stable")
    begins = np.searchsorted(numbers, wanted, "left", in_order)
    counts = np.searchsorted(numbers, wanted, "right", in_order)
    counts -= begins
    places = begins if np.all(counts == 1) else _ranges(begins, counts)
    return picked(tokens, places if in_order is None else in_order[places])


def _ranges(begins: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`counts` whole numbers from each of `begins`, end to end."""
    import numpy as np

    shifted = np.repeat(begins - (np.cumsum(counts) - counts), counts)
    return shifted + np.arange(len(shifted))


def _of_each(
    rows: Sequence[TokenizedRow],
    kept: Callable[[StoredTokens], np.ndarray],
    count: Callable[[TokenizedRow], int],
) -> np.ndarray:
    """One number a row, from memory where the rows themselves lie on disk."""
    import numpy as np

    if isinstance(rows, Picked):
        return _of_each(rows.whole, kept, count)[rows.places]
    if isinstance(rows, StoredTokens):
        return kept(rows)
    return np.fromiter(map(count, rows), np.int64, len(rows))
