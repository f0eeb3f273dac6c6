"""The layers of a streamed base in an order, each read while the one before computes.

Two pieces of host memory, each as large as the largest layer: one computes, the other is filled by
a thread. A layer that lies in one of them already is not read again, so the way down begins with
what the way up ended with. On another device than the CPU the layer that computes is copied there.
Knows nothing of what is computed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING

from lora_engine.calculator.streaming import SLOTS
from lora_engine.training.streaming.layer_source import LayerSource

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


class LayerStream:
    """Reads and places layers. bytes_read: from the disk, so far."""

    def __init__(self, source: LayerSource, device: str) -> None:
        self._source, self._device = source, device
        self._slots: list[torch.Tensor] = []
        self._held: list[int | None] = [None] * SLOTS
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="layer-reader")
        self._reading: Future[None] | None = None
        self.bytes_read = 0

    @property
    def layers(self) -> int:
        return self._source.layers

    def visit(self, order: Sequence[int]) -> Iterator[int]:
        """Each layer of the order in turn; within, its parameters hold its weights.

        Raises EngineError where a file has become shorter.
        """
        for here, following in zip_longest(order, order[1:]):
            slot = self._slot_with(here)
            if following is not None and following not in self._held:
                self._reading = self._reader.submit(self._fill, 1 - slot, following)
            with self._placed(here, self._slots[slot]):
                yield here

    @contextmanager
    def holding(self, numbers: Sequence[int]) -> Iterator[None]:
        """Within: these layers have their weights, all at once, in memory of their own."""
        import torch

        for number in numbers:
            memory = torch.empty(self._source.size(number), dtype=torch.uint8)
            self.bytes_read += self._source.read(number, memory)
            self._source.place(number, memory.to(self._device))
        try:
            yield
        finally:
            for number in numbers:
                self._source.take_out(number)

    @contextmanager
    def _placed(self, number: int, memory: torch.Tensor) -> Iterator[None]:
        self._source.place(number, memory.to(self._device))
        try:
            yield
        finally:
            self._source.take_out(number)

    def _slot_with(self, number: int) -> int:
        """The slot that holds a layer, once it does."""
        import torch

        if not self._slots:
            size = max(map(self._source.size, range(self.layers)))
            self._slots = [torch.empty(size, dtype=torch.uint8) for _ in range(SLOTS)]
        if self._reading is not None:
            reading, self._reading = self._reading, None
            reading.result()
        if number not in self._held:
            self._reader.submit(self._fill, 0, number).result()
        return self._held.index(number)

    def _fill(self, slot: int, number: int) -> None:
        self._held[slot] = None
        self.bytes_read += self._source.read(number, self._slots[slot])
        self._held[slot] = number
