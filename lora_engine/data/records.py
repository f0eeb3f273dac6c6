"""One raw record of a file, and records that are read from somewhere each time they are asked for.

Knows nothing of where that is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, overload


@dataclass(frozen=True, slots=True)
class Record:
    """`number` is 1-based, as in the file."""

    number: int
    value: Any


class ReadAnew(Sequence[Record]):
    """Records that are gone through from the beginning; an index reads up to that record."""

    @abstractmethod
    def __iter__(self) -> Iterator[Record]: ...

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        places = range(len(self))[index]
        if isinstance(places, range):
            return list(islice(iter(self), places.start, places.stop, places.step))
        return next(islice(iter(self), places, None))
