"""Whether a run fits a card, and if not, what to change: the calculator, asked for the advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lora_engine.calculator import MemoryRequest, estimate_memory, make_it_fit, with_changes
from lora_engine.language import tr
from lora_engine.spec import QuantizationSpec
from lora_engine.training.memory.out_of_memory import SPEC_PATHS

QLORA = {
    "quantization": QuantizationSpec().model_dump(),
    "optimization.gradient_checkpointing": True,
}


@dataclass(frozen=True)
class MemoryAdvice:
    """Peak memory at the suggested rank, in GiB.

    qlora_gib: with the base in 4 bits and gradient checkpointing, where it does not fit as asked.
    changes: the least harmful ones after which it fits, in words; empty where it fits or nothing
    helps. fields: what they set in the spec, by path.
    """

    total_gib: float
    card_gib: float
    fits: bool
    qlora_gib: float | None = None
    changes: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)

    def remarks(self) -> tuple[str, ...]:
        """What a person should know where it does not fit as asked."""
        if self.fits:
            return ()
        if not self.changes:
            return (
                tr("No change makes it fit this card; choose a smaller base or a larger card."),
            )
        changes = tr("; ").join(self.changes)
        return (tr("The least harmful way to fit the card: {changes}.", changes=changes),)


def advise_on_memory(asked: MemoryRequest, card_gib: float) -> MemoryAdvice:
    """The peak of `asked` beside a card's memory. Raises as the calculator does."""
    total = estimate_memory(asked).total_gib
    if total <= card_gib:
        return MemoryAdvice(total, card_gib, True)
    found = make_it_fit(asked, card_gib)
    changes = found.changes if found.fits else ()
    return MemoryAdvice(
        total_gib=total,
        card_gib=card_gib,
        fits=False,
        qlora_gib=estimate_memory(with_changes(asked, QLORA)).total_gib,
        changes=tuple(tr("{what} ({harm})", what=one.what, harm=one.harm) for one in changes),
        fields={
            SPEC_PATHS.get(path, path): value
            for one in changes
            for path, value in one.fields.items()
        },
    )
