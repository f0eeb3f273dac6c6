"""How the gradients of a round come about: a pass for each run, or one for several runs.

Both ways are exact, so nothing is lost while they are compared on the first steps. Those go: one
step alone to warm up, one both ways whose gradients must agree, then MEASURED steps each way in
turn. One pass is used from there on where its best step took less time a token and its memory is
there: on a GPU, within MOST_OF_GPU of it; on the CPU, where others want memory too, a peak of at
most MOST_MEMORY times what it was after the first step. The log says what was measured. A pass
holds at most as many tokens as MOST_TOKENS allows: more would cost memory and gain nothing.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import TYPE_CHECKING, Literal

from lora_engine.training.forward.select import TOLERANCE
from lora_engine.training.memory.out_of_memory import available_bytes
from lora_engine.training.memory.usage import peak_memory_bytes
from lora_engine.training.objectives.objective import StepGradients
from lora_engine.training.reporting.outcome import is_out_of_memory
from lora_engine.training.streaming.rides import gradients_of
from lora_engine.training.together.member import Member
from lora_engine.training.together.one_pass import CannotShare, OnePass, SharedStep
from lora_engine.training.together.shared_base import share_weights

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

log = logging.getLogger("lora_engine.training.worker")
MEASURED = 5  # the best of them counts: another process can only slow a step down
MOST_MEMORY, MOST_OF_GPU = 1.25, 0.8
# Beyond these the products with the base's weights are as fast as they get.
MOST_TOKENS = {"cpu": 1_024, "cuda": 16_384}

SMALLEST = 1e-24  # of a gradient's squared norm; what is below is nothing

Way = Literal["alone", "both", "together"]
PROBE: tuple[Way, ...] = ("alone", "both", *(("alone", "together") * MEASURED))


@dataclass
class Measured:
    """The seconds a token of each step of one way, and the process's peak of memory after it."""

    seconds_a_token: list[float] = field(default_factory=list)
    peaks_bytes: list[int] = field(default_factory=list)

    def add(self, gradients: Sequence[StepGradients]) -> None:
        tokens = sum(one.tokens for one in gradients)
        if tokens:
            self.seconds_a_token.append(sum(one.seconds for one in gradients) / tokens)
            self.peaks_bytes.append(peak_memory_bytes())

    @property
    def tokens_per_s(self) -> float:
        return 1 / max(1e-12, min(self.seconds_a_token))


class Passes:
    """Makes the steps of a round, in the way that was found to be the faster."""

    def __init__(self, base: PreTrainedModel, members: Sequence[Member]) -> None:
        self._device = members[0].prepared.device
        self._alone, self._together = Measured(), Measured()
        self._ways: Iterator[Way] = chain(PROBE)
        self._is_decided = False
        self._one_pass: OnePass | None = None
        if members[0].stream is not None:
            log.info("the runs share each reading of the base's layers")
            return
        try:
            self._one_pass = OnePass(share_weights(base), [m.ready.path for m in members])
        except CannotShare as reason:
            self._decide("alone", f"they cannot share a pass: {reason}")

    def keep(self, members: Sequence[Member]) -> None:
        """Let go of the runs that have ended."""
        if self._one_pass is not None:
            self._one_pass.keep([member.ready.path for member in members])

    def make_steps(self, members: Sequence[Member]) -> None:
        """One step of each; a run that fails in it ends by itself."""
        if members and members[0].stream is not None:
            self._step_over_stream(members)
            return
        if self._one_pass is None or len(members) < 2:
            self._step_alone(members)
            return
        groups = list(self._groups(members))
        if not self._is_decided and len(groups) == len(members):
            most = MOST_TOKENS[self._device]
            self._decide("alone", f"two of their batches have more than {most:,} tokens")
        way = next(self._ways, None)
        if way is None:
            self._compare()
            way = next(self._ways)
        for group in groups:
            if way == "alone" or len(group) < 2 or self._one_pass is None:
                self._step_alone(group)
            elif way == "both":
                self._step_both_ways(group)
            else:
                self._step_together(group)

    def _step_over_stream(self, members: Sequence[Member]) -> None:
        """All on each reading of a layer: the disk decides, so nothing is measured."""
        made = gradients_of([member.rider() for member in members])
        for member, gradients in zip(members, made, strict=True):
            member.finish_step(gradients)

    def _step_alone(self, members: Sequence[Member]) -> None:
        made = []
        for member in members:
            gradients = member.gradients()
            if gradients is not None:
                made.append(gradients)
                member.finish_step(gradients)
        if not self._is_decided:
            self._alone.add(made)

    def _step_together(self, group: Sequence[Member]) -> None:
        """By one pass; by themselves where that fails."""
        steps = [member.shared_step() for member in group]
        gradients = self._shared_gradients(group, steps)
        if gradients is not None and not all(math.isfinite(one.loss) for one in gradients):
            gradients = None  # each finds out by itself whose loss it is
            for member in group:
                member.take_gradients()
        if gradients is None:
            self._step_alone(group)
            return
        for member, step, own in zip(group, steps, gradients, strict=True):
            member.random.follow(step.generator)
            member.finish_step(own)
        if not self._is_decided:
            self._together.add(gradients)

    def _step_both_ways(self, group: Sequence[Member]) -> None:
        """By themselves, and compare the gradients of one pass with theirs."""
        made = self._shared_gradients(group, [member.shared_step() for member in group])
        shared = [member.take_gradients() for member in group] if made else []
        for member, ours in zip(group, shared, strict=False):
            gradients = member.gradients()
            if gradients is None:
                continue
            if apart := _difference(member, ours):
                why = f"the gradients of {member.name} would be {apart:.1e} apart"
                self._decide("alone", why)
            member.finish_step(gradients)
        if not made:
            self._step_alone(group)

    def _shared_gradients(
        self, group: Sequence[Member], steps: Sequence[SharedStep]
    ) -> list[StepGradients] | None:
        """Those of one pass; None where it failed, and then no run has any."""
        assert self._one_pass is not None, "a group is made where there is one"
        try:
            return self._one_pass.gradients(steps)
        except Exception as error:
            for member in group:
                member.take_gradients()
            if not isinstance(error, CannotShare) and not is_out_of_memory(error):
                raise
            self._decide("alone", f"one pass failed: {error}")
            return None

    def _groups(self, members: Sequence[Member]) -> Iterator[list[Member]]:
        """Neighbours whose largest batches have together no more tokens than a pass may."""
        group: list[Member] = []
        tokens = 0
        for member in members:
            own = max(map(_tokens, member.ready.steps.begin()))
            if group and tokens + own > MOST_TOKENS[self._device]:
                yield group
                group, tokens = [], 0
            group.append(member)
            tokens += own
        if group:
            yield group

    def _compare(self) -> None:
        alone, together = self._alone, self._together
        before, peak = alone.peaks_bytes[0], together.peaks_bytes[-1]
        on_gpu = self._device == "cuda"
        most = MOST_OF_GPU * available_bytes("cuda") if on_gpu else MOST_MEMORY * before
        pays = together.tokens_per_s > alone.tokens_per_s
        self._decide(
            "together" if pays and peak <= most else "alone",
            f"{together.tokens_per_s:,.0f} tokens a second in one pass and "
            f"{alone.tokens_per_s:,.0f} in a pass for each; peak of memory {peak / 2**20:,.0f} MiB "
            f"and {before / 2**20:,.0f} MiB before",
        )

    def _decide(self, way: Way, why: str) -> None:
        words = {"alone": "each run makes its own passes", "together": "the runs share each pass"}
        log.info("%s: %s", words[way], why)
        self._ways, self._is_decided = repeat(way), True
        if way == "alone":
            self._one_pass = None


def _tokens(rows: Sequence) -> int:
    return sum(len(row.input_ids) for row in rows)


def _difference(member: Member, given: Sequence[torch.Tensor | None]) -> float:
    """‖given − its own‖ / ‖its own‖ over all weights of a run; 0 within the tolerance."""
    tolerance = TOLERANCE[str(member.prepared.dtype).removeprefix("torch.")]
    squares = difference = 0.0
    for parameter, other in zip(member.ready.steps.parameters, given, strict=True):
        own = parameter.grad
        if own is None or other is None:
            difference += 0.0 if own is other else math.inf
        else:
            squares += float(own.norm()) ** 2
            difference += float((other - own).norm()) ** 2
    apart = math.sqrt(difference / max(squares, SMALLEST))
    return 0.0 if apart <= tolerance else apart
