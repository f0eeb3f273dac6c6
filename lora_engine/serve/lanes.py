"""Which answers run in one batch, and how new ones join it.

A lane is a batch that goes on: new prompts are read in passes of their own, one chunk between two
steps of the running batch, and join it with their first token. All plain adapters and the base
share one lane; an adapter that PEFT must run alone has its own. The owner holds the model's lock.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from lora_engine.cancellation import NEVER_STOPPED
from lora_engine.compare.generate.adapter_settings import AdapterVariant
from lora_engine.compare.generate.decode_passes import DecodePass
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.generation.decode import DecodeRow

SHORT_PROMPT = 64  # tokens: shorter ones are read together, whatever their lengths

Row = tuple[AdapterVariant, DecodeRow]


class Lane:
    """A running batch and the passes that are about to join it."""

    def __init__(self) -> None:
        self._running: DecodePass | None = None
        self._arriving: list[DecodePass] = []

    @property
    def rows(self) -> list[DecodeRow]:
        """Every row that has not ended."""
        return [row for one in self._passes() for row in one.batch.rows]

    def add(self, shared: SharedBase, rows: Sequence[Row]) -> None:
        """Let new rows in. Those of like length are read together, so that padding costs little."""
        groups: dict[tuple[bool, int], list[Row]] = {}
        for variant, row in rows:
            length = max(SHORT_PROMPT, len(row.prompt)).bit_length()
            groups.setdefault((row.scores_prompt, length), []).append((variant, row))
        self._arriving += [DecodePass(shared, group) for group in groups.values()]

    def run_for(self, seconds: float) -> None:
        """Decode until the time is over or no row is left; at least one step."""
        until = time.perf_counter() + seconds
        while self._arriving:
            self._read_prompts()
            if self._running is not None:
                self._running.run_for(0.0, NEVER_STOPPED)
            if time.perf_counter() >= until:
                return
        if self._running is not None:
            self._running.run_for(until - time.perf_counter(), NEVER_STOPPED)

    def end_rows(self, rows: Sequence[DecodeRow]) -> None:
        """Take rows out; the others go on."""
        for one in self._passes():
            theirs = {id(row) for row in one.batch.rows}
            mine = [row for row in rows if id(row) in theirs]
            if mine:
                one.batch.end_rows(mine)
        self._arriving = [one for one in self._arriving if not one.batch.done]
        if self._running is not None and self._running.batch.done:
            self._running = None

    def clear(self) -> None:
        """Let go of every row, whatever state the batches are in."""
        self._running, self._arriving = None, []

    def _read_prompts(self) -> None:
        """Read one chunk of the first pass that arrives; with its first tokens it joins."""
        first = self._arriving[0]
        first.run_for(0.0, NEVER_STOPPED)
        if first.batch.reads_prompts:
            return
        del self._arriving[0]
        if first.batch.done:
            return
        if self._running is None or self._running.batch.done:
            self._running = first
        else:
            self._running.join(first)

    def _passes(self) -> list[DecodePass]:
        return [*self._arriving, *([self._running] if self._running is not None else [])]
