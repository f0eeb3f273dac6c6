"""The gradients of a step over a streamed base: of one run, or of several runs over one base.

All batches of all runs ride on each reading of a layer, as far as the inputs that they keep for the
way down stay within MOST_KEPT_BYTES; the others follow in a ride of their own. Each run's gradients
are those that it has alone: only the order in which batches pass a layer differs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from lora_engine.data import TokenizedRow
from lora_engine.training.forward.batches import Batch
from lora_engine.training.objectives.objective import Evaluation, StepGradients
from lora_engine.training.streaming.streamed_path import StreamedPath, riding_together
from lora_engine.training.streaming.walk import InForce, Walk, walk_down, walk_up


@dataclass(frozen=True)
class Rider:
    """One run in a step: its path, the rows of each of its batches, its random numbers."""

    path: StreamedPath
    batches: Sequence[Sequence[TokenizedRow]]
    in_force: InForce = nullcontext


@dataclass(frozen=True)
class _Seat:
    """One batch of a run. supervised: tokens of the run's whole step."""

    run: int
    batch: Batch
    supervised: int


def gradients_of(riders: Sequence[Rider]) -> list[StepGradients]:
    """Fill the gradients of every run's weights for one step of each, over one stream.

    The seconds of the rides are shared out by tokens.
    """
    started = time.perf_counter()
    seats = [seat for run, rider in enumerate(riders) for seat in _seats(run, rider)]
    stream, losses = riders[0].path.stream, [0.0] * len(riders)
    lowest = min(rider.path.lowest for rider in riders)

    def kept_bytes(seat: _Seat) -> float:
        return seat.batch.tokens * riders[seat.run].path.token_bytes * stream.layers

    for ride in riding_together(seats, kept_bytes):
        walks = [_walk(riders[seat.run], seat) for seat in ride]
        walk_up(stream, walks)
        for seat, walk in zip(ride, walks, strict=True):
            losses[seat.run] += walk.turn()
        walk_down(stream, walks, lowest)
    tokens = [sum(s.batch.tokens for s in seats if s.run == run) for run in range(len(riders))]
    each = (time.perf_counter() - started) / max(1, sum(tokens))
    return [StepGradients(a, b, each * b) for a, b in zip(losses, tokens, strict=True)]


def _seats(run: int, rider: Rider) -> list[_Seat]:
    batches = [rider.path.collate(rows) for rows in rider.batches]
    supervised = max(1, sum(batch.supervised for batch in batches))
    return [_Seat(run, batch, supervised) for batch in batches]


def _walk(rider: Rider, seat: _Seat) -> Walk:
    forward = rider.path.loss_of(seat.batch, seat.supervised)
    return Walk(rider.path.stack, forward, in_force=rider.in_force)


@dataclass(frozen=True)
class StreamedSupervised:
    """The mean of −log p(token) over a step's supervised tokens (nats). An Objective."""

    path: StreamedPath

    def gradients(self, step: int, batches: Sequence[Sequence[TokenizedRow]]) -> StepGradients:
        return gradients_of([Rider(self.path, batches)])[0]

    def evaluate(self, rows: Sequence[TokenizedRow], batch_size: int) -> Evaluation:
        if not rows:
            return Evaluation()
        found = self.path.summed_losses(rows, batch_size)
        return Evaluation(sum(loss for loss, _ in found) / max(1, sum(n for _, n in found)))
