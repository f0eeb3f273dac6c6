"""Sets of rows put together as one, without copying them.

`JoinedRows` numbers the rows through, so that a number means one row in the whole: the rows of a
later set count on from the last number before. This module knows nothing of files, of weights or of
how rows are chosen.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import overload

from lora_engine.data.picked import Picked
from lora_engine.data.rows import Row


class JoinedRows(Sequence[Row]):
    """The rows of several sets, one set after another. added: to the numbers of each."""

    def __init__(self, sets: Sequence[Sequence[Row]], added: Sequence[int]) -> None:
        self.sets = tuple(sets)
        self.added = tuple(added)
        self._starts = (0, *accumulate(len(rows) for rows in sets))

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[Row]:
        for rows, added in zip(self.sets, self.added, strict=True):
            for row in rows:
                yield _renumbered(row, added)

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> Picked[Row]: ...

    def __getitem__(self, place: int | slice) -> Row | Picked[Row]:
        if isinstance(place, slice):
            import numpy as np

            return Picked(self, np.arange(*place.indices(len(self))))
        if not -len(self) <= place < len(self):
            raise IndexError(f"row {place} of {len(self)}")
        place %= len(self)
        number = bisect_right(self._starts, place) - 1
        return _renumbered(self.sets[number][place - self._starts[number]], self.added[number])


def _renumbered(row: Row, added: int) -> Row:
    return replace(row, number=row.number + added) if added else row
