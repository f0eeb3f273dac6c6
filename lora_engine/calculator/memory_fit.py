"""What fits a card: verdicts, the largest batch and row that fit, and what to change if none does.

Everything here asks `memory.estimate_from` again with other fields; nothing is approximated a
second time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lora_engine.calculator.cards import CARDS, Card
from lora_engine.calculator.memory import estimate_from
from lora_engine.calculator.memory_request import (
    Margins,
    MemoryEstimate,
    MemoryQuestion,
    with_changes,
)
from lora_engine.calculator.model_profile import read_profile
from lora_engine.errors import FieldProblem, InvalidInput

MAX_BATCH = 4096
MAX_SEQUENCE = 1 << 20


@dataclass(frozen=True)
class Verdict:
    """Whether an estimate fits a card. free_gib is negative by what is missing."""

    card: str
    memory_gib: float
    fits: bool
    free_gib: float


@dataclass(frozen=True)
class LargestFit:
    """The largest batch at the asked row length, and the longest row at the asked batch.

    0 where not even 1 fits.
    """

    batch_size: int
    seq_length: int


@dataclass(frozen=True)
class Change:
    """One change on the way to fitting: what to do, what it costs, and the total after it.

    fields: the question's fields and their new values.
    """

    what: str
    harm: str
    total_gib: float
    fields: dict[str, Any]


@dataclass(frozen=True)
class MakeItFit:
    """The changes, least harmful first, after which the question fits; fits is False if none do."""

    fits: bool
    changes: tuple[Change, ...]
    question: MemoryQuestion

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
    question: MemoryQuestion, memory_gib: float, margins: Margins = Margins()
) -> LargestFit:
    """The largest batch size and row length that fit `memory_gib`, each with the other as asked."""
    _check_memory(memory_gib)
    profile = read_profile(question.source, question.choice)

    def fits(**changes: int) -> bool:
        asked = with_changes(question, **changes)
        return estimate_from(profile, asked, margins).total_gib <= memory_gib

    return LargestFit(
        batch_size=_largest(lambda n: fits(batch_size=n), MAX_BATCH),
        seq_length=_largest(lambda n: fits(seq_length=n), MAX_SEQUENCE),
    )


def make_it_fit(
    question: MemoryQuestion, memory_gib: float, margins: Margins = Margins()
) -> MakeItFit:
    """The smallest change, in order of harm, after which `question` fits `memory_gib`.

    A single change is tried first, the least harmful first; then changes are added up in that
    order and those that turn out unneeded are taken back.
    """
    _check_memory(memory_gib)
    profile = read_profile(question.source, question.choice)

    def total(asked: MemoryQuestion) -> float:
        return estimate_from(profile, asked, margins).total_gib

    if total(question) <= memory_gib:
        return MakeItFit(True, (), question)
    options = _options(question)
    for what, harm, change in options:
        asked = with_changes(question, **change)
        if total(asked) <= memory_gib:
            return MakeItFit(True, (Change(what, harm, total(asked), change),), asked)
    taken = _fewest(question, options, total, memory_gib)
    steps, asked = [], question
    for what, harm, change in taken:
        asked = with_changes(asked, **change)
        steps.append(Change(what, harm, total(asked), change))
    return MakeItFit(total(asked) <= memory_gib, tuple(steps), asked)


def _fewest(
    question: MemoryQuestion,
    options: list[tuple[str, str, dict[str, Any]]],
    total: Callable[[MemoryQuestion], float],
    memory_gib: float,
) -> list[tuple[str, str, dict[str, Any]]]:
    """Add options in order until they fit, then drop, most harmful first, what is not needed."""

    def after(chosen: list[tuple[str, str, dict[str, Any]]]) -> float:
        asked = question
        for *_, change in chosen:
            asked = with_changes(asked, **change)
        return total(asked)

    taken: list[tuple[str, str, dict[str, Any]]] = []
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


def _options(q: MemoryQuestion) -> list[tuple[str, str, dict[str, Any]]]:
    """Every change worth trying, in order of harm: (what, harm, fields)."""
    if q.purpose == "chat":
        return _chat_options(q)
    found: list[tuple[str, str, dict[str, Any]]] = []
    for size in _halvings(q.batch_size, 1):
        steps = q.gradient_accumulation * -(-q.batch_size // size)
        change = {"batch_size": size, "gradient_accumulation": steps}
        what = f"batch of {size} with {steps} steps of accumulation"
        found.append((what, "the same result, a little slower", change))
    if not q.gradient_checkpointing:
        harm = "the same result, about a third more time"
        found.append(("gradient checkpointing", harm, {"gradient_checkpointing": True}))
    if q.attention == "eager":
        what = "scaled-dot-product attention"
        found.append((what, "the same result", {"attention": "sdpa"}))
    if q.optimizer == "adamw":
        harm = "nearly the same result (bitsandbytes, CUDA only)"
        found.append(("8-bit AdamW", harm, {"optimizer": "adamw_8bit"}))
        harm = "the same state, slower when pages move to the host"
        found.append(("paged 8-bit AdamW", harm, {"optimizer": "paged_adamw_8bit"}))
    if q.method == "qlora" and not q.double_quantization:
        found.append(("double quantization", "hardly any", {"double_quantization": True}))
    if q.dtype == "fp32":
        found.append(("bf16 weights", "less precise arithmetic", {"dtype": "bf16"}))
    if q.method in ("full", "galore", "freeze"):
        found.append(("LoRA", "fewer parameters learn", {"method": "lora"}))
    if q.method != "qlora":
        harm = "the base is rounded to 4 bits; slower steps"
        found.append(("QLoRA (NF4 base)", harm, {"method": "qlora"}))
    for length in _halvings(q.seq_length, 128):
        found.append(
            (f"rows of {length} tokens", "longer rows are cut off", {"seq_length": length})
        )
    return found


def _chat_options(q: MemoryQuestion) -> list[tuple[str, str, dict[str, Any]]]:
    found: list[tuple[str, str, dict[str, Any]]] = []
    if q.dtype == "fp32":
        found.append(("bf16 weights", "less precise arithmetic", {"dtype": "bf16"}))
    if q.method != "qlora":
        found.append(("NF4 weights", "the base is rounded to 4 bits", {"method": "qlora"}))
    for length in _halvings(q.seq_length, 128):
        found.append((f"{length} tokens of context", "a shorter chat", {"seq_length": length}))
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
        problem = FieldProblem("memory_gib", "a number above 0 up to 100,000 GiB is allowed")
        raise InvalidInput("The card", [problem], "Give the card's memory in GiB.")
