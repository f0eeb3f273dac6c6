"""A key-value cache that writes in place into buffers with room to grow.

transformers' DynamicCache copies all keys and values at every token, and its StaticCache attends
over the whole buffer. This one copies only when a buffer is full, and returns views of the part
filled so far. It keeps every position, also in layers with a sliding window: the attention mask
alone decides what such a layer sees.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import torch
    from transformers.cache_utils import Cache

BLOCK = 128  # positions: buffers grow in whole blocks


class _RowLayer(Protocol):
    def keep_rows(self, rows: torch.Tensor) -> None: ...

    def join(self, other: _RowLayer) -> None: ...

    def drop_first(self, positions: int) -> None: ...


def growing_cache(layers: int) -> Cache:
    """An empty transformers Cache for a model with `layers` attention layers."""
    from transformers.cache_utils import Cache

    layer_class = _growing_layer_class()
    return Cache(layers=[layer_class() for _ in range(layers)])


def keep_rows(cache: Cache, rows: torch.Tensor) -> None:
    """Keep these rows of the batch alone, in this order; indices (kept,), in all layers."""
    for layer in cast("list[_RowLayer]", cache.layers):
        layer.keep_rows(rows)


def join(cache: Cache, other: Cache) -> None:
    """Append the rows of another cache of the same model; both end in the same last position."""
    layers = cast("list[_RowLayer]", cache.layers)
    for layer, theirs in zip(layers, cast("list[_RowLayer]", other.layers), strict=True):
        layer.join(theirs)


def drop_first(cache: Cache, positions: int) -> None:
    """Forget the first positions, which are padding in every row."""
    for layer in cast("list[_RowLayer]", cache.layers):
        layer.drop_first(positions)


@cache
def _growing_layer_class() -> type:
    from transformers.cache_utils import CacheLayerMixin

    class GrowingLayer(CacheLayerMixin):
        """One layer's keys and values, (rows, heads, capacity, head size), filled to `length`."""

        is_sliding = False
        length = 0

        def lazy_initialization(self, key_states, value_states) -> None:
            """Empty buffers shaped and typed like these, (rows, heads, n, head size) each."""
            self.dtype, self.device = key_states.dtype, key_states.device
            self.keys = key_states[:, :, :0]
            self.values = value_states[:, :, :0]
            self.is_initialized = True

        def update(self, key_states, value_states, *args, **kwargs):
            """Append n positions; views of all positions so far, for attention to read."""
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            assert self.keys is not None
            assert self.values is not None
            start, stop = self.length, self.length + key_states.shape[-2]
            if stop > self.keys.shape[-2]:
                self.keys = _with_room(self.keys, start, stop)
                self.values = _with_room(self.values, start, stop)
            self.keys[:, :, start:stop] = key_states
            self.values[:, :, start:stop] = value_states
            self.length = stop
            return self.keys[:, :, :stop], self.values[:, :, :stop]

        def keep_rows(self, rows) -> None:
            """Keep these rows alone, in this order; indices (kept,)."""
            if self.keys is not None and self.values is not None:
                self.keys = self.keys.index_select(0, rows)
                self.values = self.values.index_select(0, rows)

        def join(self, other) -> None:
            """Append another layer's rows; the shorter of the two gets zeros on its left."""
            if self.keys is None or self.values is None:
                return  # a layer that reads another one's keys and values
            length = max(self.length, other.length)
            self.keys = _rows_joined(self.keys, self.length, other.keys, other.length)
            self.values = _rows_joined(self.values, self.length, other.values, other.length)
            self.length = length

        def drop_first(self, positions: int) -> None:
            """Forget the first positions; a copy, so that their memory is free."""
            if self.keys is not None and self.values is not None:
                self.keys = self.keys[:, :, positions : self.length].clone()
                self.values = self.values[:, :, positions : self.length].clone()
                self.length -= positions

        def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
            """(positions that a query of this length attends over, the first one's number)."""
            return self.length + query_length, 0

        def get_seq_length(self) -> int:
            """Positions filled so far."""
            return self.length

        def get_max_length(self) -> int:
            """-1: the buffers grow without a bound."""
            return -1

    return GrowingLayer


def _with_room(buffer: torch.Tensor, filled: int, needed: int) -> torch.Tensor:
    """A larger buffer with the `filled` positions copied; half as much again, in whole blocks."""
    rows, heads, _, head_size = buffer.shape
    capacity = -(-max(needed, filled * 3 // 2) // BLOCK) * BLOCK
    larger = buffer.new_zeros((rows, heads, capacity, head_size))
    larger[:, :, :filled] = buffer[:, :, :filled]
    return larger


def _rows_joined(
    first: torch.Tensor, first_filled: int, second: torch.Tensor, second_filled: int
) -> torch.Tensor:
    """Both buffers' rows in one, (rows of both, heads, capacity, head size), aligned at the end."""
    length = max(first_filled, second_filled)
    rows, heads, _, head_size = first.shape
    capacity = -(-(length + 1) // BLOCK) * BLOCK
    both = first.new_zeros((rows + second.shape[0], heads, capacity, head_size))
    both[:rows, :, length - first_filled : length] = first[:, :, :first_filled]
    both[rows:, :, length - second_filled : length] = second[:, :, :second_filled]
    return both
