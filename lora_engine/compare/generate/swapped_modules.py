"""Modules of another method than LoRA, kept aside, and put into the model for one pass.

IA³, VeRA and LoHa each put modules around those of the base. Several methods around
the same module would wrap each other, so each adapter's modules are taken out again after they are
made, and stand in the model during its own passes only. Nothing here is thread-safe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lora_engine.compare.generate.adapter_settings import AdapterSettings

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Place:
    """Where a module of a method belongs. original: the base's own, which it wraps.

    number: of the layer in the model, None outside the numbered layers.
    """

    parent: nn.Module
    name: str
    module: nn.Module
    original: nn.Module
    number: int | None


class SwappedModules:
    """All modules of one adapter."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = tuple(places)

    @contextmanager
    def in_place(self, settings: AdapterSettings) -> Iterator[None]:
        """Within: the modules stand in the model, at this strength, but for the layers left out.

        At strength s a module gives base(x) + s · (module(x) − base(x)).
        """
        used = [one for one in self._places if one.number not in settings.layers_off]
        before = [(one, getattr(one.parent, one.name)) for one in used]
        try:
            for one in used:
                setattr(one.parent, one.name, one.module)
                if settings.strength != 1.0:
                    one.module.forward = _at_strength(one, settings.strength)
            yield
        finally:
            for one, module in before:
                setattr(one.parent, one.name, module)
                one.module.__dict__.pop("forward", None)


def _at_strength(place: Place, strength: float) -> Any:
    whole = type(place.module).forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        base = place.original(*args, **kwargs)
        return base + strength * (whole(place.module, *args, **kwargs) - base)

    return forward
