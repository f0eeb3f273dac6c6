"""Finding adapters among those known: by words, by a tag, in an order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lora_engine.adapters.summary import AdapterSummary
from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr

ORDERS: dict[str, tuple[Callable[[AdapterSummary], Any], bool]] = {
    "newest": (lambda one: (not one.bundled, one.created_at), True),
    "name": (lambda one: one.name.casefold(), False),
    "rank": (lambda one: (one.rank is None, one.rank or 0), False),
    "size": (lambda one: one.bytes, False),
    "loss": (lambda one: (one.eval_loss is None, one.eval_loss), False),
}
"""What a list can be sorted by: its key, and whether the largest comes first. Where two are equal
the newer one comes first; an adapter without a rank or a loss comes last, and so do those that
come with the program where the newest is first."""


def find_adapters(
    adapters: Sequence[AdapterSummary], find: str = "", tag: str = "", order: str = "newest"
) -> list[AdapterSummary]:
    """Those of `adapters`, given newest first, that have every word and the tag.

    Words are looked for in the name, note, tags, base model, dataset, targets, size and run,
    whatever their case. Raises InvalidInput for an unknown order.
    """
    if order not in ORDERS:
        message = tr(
            "got {order}; allowed are {orders}",
            order=f"{order[:50]!r}",
            orders=", ".join(ORDERS),
        )
        raise InvalidInput(
            tr("The search"), [FieldProblem("sort", message)], tr("Choose one of these.")
        )
    words = find.casefold().split()
    found = [
        one
        for one in adapters
        if all(word in _text(one) for word in words) and (not tag or tag in one.tags)
    ]
    key, descending = ORDERS[order]
    return sorted(found, key=key, reverse=descending)


def _text(one: AdapterSummary) -> str:
    said = (
        one.name, one.note, *one.tags, one.base_model, one.dataset, one.targets, one.run_id,
        one.made_by, one.size,
    )  # fmt: skip
    return "\n".join(text for text in said if text).casefold()
