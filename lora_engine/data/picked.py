"""Sequences of a large set's items: how they are kept, and some of them with nothing copied.

Knows nothing of what the items are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar, overload

if TYPE_CHECKING:
    import numpy as np

Item = TypeVar("Item")
Keep = Callable[[Iterable[Item]], Sequence[Item]]
"""Takes items one by one and holds them: `tuple` in memory, a store on disk."""


class Picked(Sequence[Item]):
    """Items of `whole` at `places` (their indices, in any order, repeats allowed).

    A selection of a selection holds on to the first whole.
    """

    def __init__(self, whole: Sequence[Item], places: np.ndarray) -> None:
        inner = whole if isinstance(whole, Picked) else None
        self.whole: Sequence[Item] = whole if inner is None else inner.whole
        self.places: np.ndarray = places if inner is None else inner.places[places]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Item]:
        return (self.whole[int(place)] for place in self.places)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Picked[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Picked[Item]:
        if isinstance(index, slice):
            return Picked(self.whole, self.places[index])
        return self.whole[int(self.places[index])]


def picked(items: Sequence[Item], places: np.ndarray) -> Sequence[Item]:
    """The items at these places: a tuple of a tuple's, else a selection."""
    if isinstance(items, tuple):
        return tuple(items[place] for place in places.tolist())
    return Picked(items, places)
