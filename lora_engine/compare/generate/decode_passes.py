"""Which answers decode in one batch, and running such a batch for a slice of time.

All plain rows, of whatever adapter and strength, share one batch: every forward pass then costs
little more than one answer's. An adapter that must run alone gets a batch of its own.
This module knows adapter keys and rows; it knows nothing of columns, text or files.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from lora_engine.cancellation import StopSignal
from lora_engine.compare.generate.adapter_settings import AdapterVariant
from lora_engine.compare.generate.mixed_lora_layer import AdapterRows
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.generation.decode import DecodeBatch, DecodeRow


class DecodePass:
    """A batch of rows that the model can run together, the rows of one variant side by side."""

    def __init__(
        self,
        shared: SharedBase,
        group: Sequence[tuple[AdapterVariant, DecodeRow]],
    ) -> None:
        # Side by side, so that a layer adds each variant's update to one slice of the batch.
        order = list(dict.fromkeys(variant for variant, _ in group))
        group = sorted(group, key=lambda pair: order.index(pair[0]))
        self._switch = shared.switch
        self._variant_of = {id(row): variant for variant, row in group}
        # Those of the only variant: a batch of several has none with virtual tokens.
        self.batch = decode_batch(shared, [row for _, row in group], group[0][0].adapter)

    def join(self, other: DecodePass) -> None:
        """Take in the rows of another pass that the model can run with these.

        Both have read their prompts; `other` is used up.
        """
        of_both = {**self._variant_of, **other._variant_of}
        rows = [*self.batch.rows, *other.batch.rows]
        self._variant_of = {id(row): of_both[id(row)] for row in rows}
        order = list(dict.fromkeys(self._variant_of.values()))
        self.batch.join(other.batch, lambda row: order.index(self._variant_of[id(row)]))

    def run_for(self, seconds: float, stop: StopSignal) -> None:
        """Advance until the time is over, all rows have ended or the caller stops.

        At least once, so that a slow model advances too. The adapters are applied anew only when
        rows have left the batch: the others' places have moved then.
        """
        until = time.perf_counter() + seconds
        while not self.batch.done:
            with self._switch.applied(self._adapter_rows()):
                ended = False
                while not ended:
                    if stop.is_set():
                        self.batch.stop()
                        return
                    ended = self.batch.advance()
                    if time.perf_counter() >= until:
                        return

    def _adapter_rows(self) -> list[AdapterRows]:
        found: list[AdapterRows] = []
        for index, row in enumerate(self.batch.rows):
            variant = self._variant_of[id(row)]
            if found and found[-1].variant == variant:
                found[-1] = AdapterRows(variant, found[-1].start, index + 1)
            else:
                found.append(AdapterRows(variant, index, index + 1))
        return found


def decode_batch(
    shared: SharedBase, rows: Sequence[DecodeRow], adapter: str | None, *, ends: bool = True
) -> DecodeBatch:
    """A batch of rows that begin with the adapter's virtual tokens, where it has some.

    ends: whether the model's end tokens end an answer.
    """
    end_tokens = shared.end_tokens if ends else frozenset()
    virtual = shared.switch.virtual_tokens(adapter)
    return DecodeBatch(shared.model, rows, end_tokens, shared.accepted, virtual)


def decode_passes(
    shared: SharedBase, rows: Sequence[tuple[AdapterVariant, DecodeRow]]
) -> list[DecodePass]:
    """One pass for all plain rows, and one for each variant that must run alone.

    The adapters of the variants must be loaded (`SharedBase.keep_loaded`).
    """
    together: list[tuple[AdapterVariant, DecodeRow]] = []
    alone: dict[AdapterVariant, list[tuple[AdapterVariant, DecodeRow]]] = {}
    for variant, row in rows:
        own_pass = shared.switch.needs_own_pass(variant.adapter)
        group = alone.setdefault(variant, []) if own_pass else together
        group.append((variant, row))
    return [DecodePass(shared, group) for group in (together, *alone.values()) if group]
