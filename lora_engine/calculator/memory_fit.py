"""What fits a card: verdicts, the largest batch and row that fit, and what to change if none does.

Everything here asks `memory.estimate_from` again with other fields; nothing is approximated a
second time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lora_engine.calculator.cards import CARDS, Card
from lora_engine.calculator.counts_by_rank import profile_at_rank
from lora_engine.calculator.memory import estimate_from
from lora_engine.calculator.memory_request import (
    GIB,
    Margins,
    MemoryEstimate,
    MemoryRequest,
    with_changes,
)
from lora_engine.calculator.model_profile import ModelProfile, read_profile
from lora_engine.calculator.offloading import can_offload
from lora_engine.calculator.streaming import bytes_a_step, can_stream
from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr
from lora_engine.spec import MAX_RANK, QuantizationSpec

MAX_BATCH = 4096
MAX_ACCUMULATION = 4096  # as the spec has it
MAX_SEQUENCE = 1 << 20
BATCH, LENGTH = "workload.batch_size", "workload.seq_length"
ACCUMULATION = "optimization.gradient_accumulation"
KIND = "method.finetuning_type"
NF4 = {"quantization": QuantizationSpec().model_dump()}

Option = tuple[str, str, dict[str, Any]]  # what to do, what it costs, the request's fields


@dataclass(frozen=True)
class Verdict:
    """Whether an estimate fits a card. free_gib is negative by what is missing."""

    card: str
    memory_gib: float
    fits: bool
    free_gib: float


@dataclass(frozen=True)
class LargestFit:
    """The largest batch, the longest row and the largest rank, each with the rest as asked.

    0 where not even 1 fits. rank: at most the smaller side of the widest adapted matrix, which no
    update's rank passes; None where the method has no rank that can be told this way.
    """

    batch_size: int
    seq_length: int
    rank: int | None = None


@dataclass(frozen=True)
class Change:
    """One change on the way to fitting: what to do, what it costs, and the total after it.

    fields: the request's fields by path (`workload.batch_size`) and their new values.
    """

    what: str
    harm: str
    total_gib: float
    fields: dict[str, Any]


@dataclass(frozen=True)
class MakeItFit:
    """The changes, least harmful first, after which the request fits; fits is False if none do."""

    fits: bool
    changes: tuple[Change, ...]
    request: MemoryRequest

    def to_json(self) -> dict[str, Any]:
        return {"fits": self.fits, "changes": [vars(change) for change in self.changes]}


def verdicts(estimate: MemoryEstimate, cards: tuple[Card, ...] = CARDS) -> tuple[Verdict, ...]:
    """Whether `estimate` fits each card."""
    total = estimate.total_gib
    return tuple(
        Verdict(card.name, card.memory_gib, total <= card.memory_gib, card.memory_gib - total)
        for card in cards
    )


def largest_that_fits(
    request: MemoryRequest, memory_gib: float, margins: Margins = Margins()
) -> LargestFit:
    """What is the most that fits `memory_gib`, of one thing at a time."""
    _check_memory(memory_gib)
    profile = read_profile(request.source, request.method)

    def fits(path: str, value: int) -> bool:
        asked = with_changes(request, {path: value})
        return estimate_from(profile, asked, margins).total_gib <= memory_gib

    def fits_at_rank(rank: int) -> bool:
        at_rank = profile_at_rank(request.source, request.method, rank)
        return estimate_from(at_rank, request, margins).total_gib <= memory_gib

    modules = profile.count.modules
    most = max((min(m.in_features, m.out_features) for m in modules), default=0)
    has_rank = request.trains and request.has_adapter and request.method.is_lora and most > 0
    return LargestFit(
        batch_size=_largest(lambda n: fits(BATCH, n), MAX_BATCH),
        seq_length=_largest(lambda n: fits(LENGTH, n), MAX_SEQUENCE),
        rank=_largest(fits_at_rank, min(most, MAX_RANK)) if has_rank else None,
    )


def make_it_fit(
    request: MemoryRequest, memory_gib: float, margins: Margins = Margins()
) -> MakeItFit:
    """The smallest change, in order of harm, after which `request` fits `memory_gib`.

    A single change is tried first, the least harmful first; then changes are added up in that
    order and those that turn out unneeded are taken back. A base that is read from the disk in
    every step is many times slower than any other change, so it comes only where they are not
    enough.
    """
    _check_memory(memory_gib)
    profile = read_profile(request.source, request.method)

    def total(asked: MemoryRequest) -> float:
        return estimate_from(profile, asked, margins).total_gib

    if total(request) <= memory_gib:
        return MakeItFit(True, (), request)
    options = _options(request)
    found = _least(request, options, total, memory_gib)
    if found.fits or not can_stream(request) or request.optimization.stream_base:
        return found
    streamed = _least(request, [*options, _streaming(request, profile)], total, memory_gib)
    return streamed if streamed.fits else found


def _least(
    request: MemoryRequest,
    options: list[Option],
    total: Callable[[MemoryRequest], float],
    memory_gib: float,
) -> MakeItFit:
    """The single least harmful option that suffices, else the fewest together."""
    for what, harm, change in options:
        asked = with_changes(request, change)
        if total(asked) <= memory_gib:
            return MakeItFit(True, (Change(what, harm, total(asked), change),), asked)
    taken = _fewest(request, options, total, memory_gib)
    steps, asked = [], request
    for what, harm, change in taken:
        asked = with_changes(asked, change)
        steps.append(Change(what, harm, total(asked), change))
    return MakeItFit(total(asked) <= memory_gib, tuple(steps), asked)


def _fewest(
    request: MemoryRequest,
    options: list[Option],
    total: Callable[[MemoryRequest], float],
    memory_gib: float,
) -> list[Option]:
    """Add options in order until they fit, then drop, most harmful first, what is not needed."""

    def after(chosen: list[Option]) -> float:
        asked = request
        for *_, change in chosen:
            asked = with_changes(asked, change)
        return total(asked)

    taken: list[Option] = []
    for option in options:
        # A smaller batch or a shorter row takes the place of the one before it.
        others = [kept for kept in taken if kept[2].keys() != option[2].keys()]
        if after([*others, option]) < after(taken):
            taken = [*others, option]
        if after(taken) <= memory_gib:
            break
    for option in list(reversed(taken)):
        without = [kept for kept in taken if kept is not option]
        if after(without) <= memory_gib:
            taken = without
    return taken


def _options(q: MemoryRequest) -> list[Option]:
    """Every change worth trying, in order of harm."""
    if not q.trains:
        return _chat_options(q)
    found = [*_same_result_options(q), *_optimizer_options(q)]
    quantization = q.quantization
    if quantization is not None and quantization.bits == 4 and not quantization.double:
        found.append((tr("double quantization"), tr("hardly any"), {"quantization.double": True}))
    if q.weight_bytes == 4:
        found.append(
            (tr("bf16 weights"), tr("less precise arithmetic"), {"workload.dtype": "bfloat16"})
        )
    if not q.has_adapter:
        found.append(("LoRA", tr("fewer parameters learn"), {KIND: "lora"}))
    if quantization is None or quantization.bits == 8:
        harm = tr("the base is rounded to 4 bits; slower steps")
        found.append((tr("QLoRA (NF4 base)"), harm, {KIND: "lora", **NF4}))
    for length in _halvings(q.workload.seq_length, 128):
        found.append(
            (
                tr("rows of {length} tokens", length=length),
                tr("longer rows are cut off"),
                {LENGTH: length},
            )
        )
    return found


def _streaming(q: MemoryRequest, profile: ModelProfile) -> Option:
    read = bytes_a_step(profile, q) / GIB
    harm = tr(
        "the same losses; each step reads {size} GiB of the base, about {seconds} s from a disk "
        "that gives 1 GiB a second",
        size=f"{read:.1f}",
        seconds=f"{read:.0f}",
    )
    return tr("the base streamed from disk"), harm, {"optimization.stream_base": True}


def _same_result_options(q: MemoryRequest) -> list[Option]:
    found: list[Option] = []
    batch_size, accumulation = q.workload.batch_size, q.optimization.gradient_accumulation
    for size in _halvings(batch_size, 1):
        steps = accumulation * -(-batch_size // size)
        if steps > MAX_ACCUMULATION:
            break
        what = tr("batch of {size} with {steps} steps of accumulation", size=size, steps=steps)
        change: dict[str, Any] = {BATCH: size, ACCUMULATION: steps}
        found.append((what, tr("the same result, a little slower"), change))
    checkpoints = q.method.finetuning_type != "prefix"  # which it cannot be trained with
    if checkpoints and not q.optimization.gradient_checkpointing:
        harm = tr("the same result, about a third more time")
        change = {"optimization.gradient_checkpointing": True}
        found.append((tr("gradient checkpointing"), harm, change))
    if q.workload.attention == "eager":
        change = {"workload.attention": "sdpa"}
        found.append((tr("scaled-dot-product attention"), tr("the same result"), change))
    if can_offload(q) and not q.optimization.offload_activations:
        harm = tr("the same result; slower, as they move to the host and back in every pass")
        change = {"optimization.offload_activations": True}
        found.append((tr("activations in host memory"), harm, change))
    return found


def _optimizer_options(q: MemoryRequest) -> list[Option]:
    if q.optimizer != "adamw":
        return []
    name = "optimization.optimizer"
    rounded = tr("nearly the same result (bitsandbytes, CUDA only)")
    paged = tr("the same state, slower when pages move to the host")
    return [
        (tr("8-bit AdamW"), rounded, {name: "adamw_8bit"}),
        (tr("paged 8-bit AdamW"), paged, {name: "paged_adamw_8bit"}),
    ]


def _chat_options(q: MemoryRequest) -> list[Option]:
    found: list[Option] = []
    if q.weight_bytes == 4:
        found.append(
            (tr("bf16 weights"), tr("less precise arithmetic"), {"workload.dtype": "bfloat16"})
        )
    if q.quantization is None or q.quantization.bits == 8:
        found.append((tr("NF4 weights"), tr("the base is rounded to 4 bits"), NF4))
    for length in _halvings(q.workload.seq_length, 128):
        found.append(
            (
                tr("{length} tokens of context", length=length),
                tr("a shorter chat"),
                {LENGTH: length},
            )
        )
    return found


def _halvings(start: int, lowest: int) -> list[int]:
    found = []
    while start // 2 >= lowest:
        start //= 2
        found.append(start)
    return found


def _largest(fits: Callable[[int], bool], limit: int) -> int:
    """The largest n up to `limit` that fits, by bisection; 0 if 1 does not."""
    low, high = 0, 1
    while high <= limit and fits(high):
        low, high = high, high * 2
    high = min(high, limit + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _check_memory(memory_gib: float) -> None:
    if not isinstance(memory_gib, int | float) or not 0 < memory_gib <= 100_000:
        problem = FieldProblem("memory_gib", tr("a number above 0 up to 100,000 GiB is allowed"))
        raise InvalidInput(tr("The card"), [problem], tr("Give the card's memory in GiB."))
