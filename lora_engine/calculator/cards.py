"""Common graphics cards and the memory their drivers report, as data.

memory_gib is the total that nvidia-smi shows (MiB / 1024), which is a little under the figure on
the box for cards with error correction. Sources: the vendors' data sheets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr


@dataclass(frozen=True)
class Card:
    """One graphics card; memory_gib in GiB (2^30 bytes)."""

    name: str
    memory_gib: float


CARDS: tuple[Card, ...] = (
    Card("RTX 4060 8 GB", 8.0),
    Card("RTX 3060 12 GB", 12.0),
    Card("RTX 4070 12 GB", 12.0),
    Card("T4 16 GB", 15.0),
    Card("RTX 4080 16 GB", 16.0),
    Card("V100 16 GB", 16.0),
    Card("L4 24 GB", 22.5),
    Card("A10G 24 GB", 22.5),
    Card("RTX 3090 24 GB", 24.0),
    Card("RTX 4090 24 GB", 24.0),
    Card("RTX 5090 32 GB", 31.8),
    Card("A100 40 GB", 40.0),
    Card("L40S 48 GB", 45.0),
    Card("RTX 6000 Ada 48 GB", 48.0),
    Card("H100 80 GB", 79.6),
    Card("A100 80 GB", 80.0),
    Card("H200 141 GB", 140.4),
    Card("B200 192 GB", 179.0),
)
MOST_GIB = 100_000
_SIZE = re.compile(r"(\d+(?:[.,]\d+)?)\s*(?:g|gb|gib)?", re.IGNORECASE)


def card_of(text: str | None) -> Card:
    """The card of a name, or one with so much memory: "RTX 3090 24 GB", "12 GB", "12".

    Raises InvalidInput for the field `card`.
    """
    given = (text or "").strip()
    known = next((card for card in CARDS if card.name.lower() == given.lower()), None)
    if known is not None:
        return known
    size = _SIZE.fullmatch(given)
    gib = float(size[1].replace(",", ".")) if size else 0.0
    if 0 < gib <= MOST_GIB:
        return Card(f"{gib:g} GB", gib)
    said = tr("got {given}", given=repr(given[:100])) if given else tr("is empty")
    allowed = tr("a card of the list or an amount of memory such as 12 GB is allowed")
    problem = FieldProblem("card", tr("{said}; {allowed}", said=said, allowed=allowed))
    raise InvalidInput(tr("The card"), [problem], tr("Choose a card, or type its memory in GB."))
