"""How a column uses its adapter: at which strength, and without it in which layers.

Reads and writes layers as a person types them ("0-3, 7"). Which layers an adapter acts on is
known to `ComparisonModel.adapter_layers`, not here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lora_engine.errors import EngineError
from lora_engine.language import tr

MAX_STRENGTH = 4.0
MAX_LAYER = 9_999
MAX_LAYERS_TEXT = 1_000
_PART = re.compile(r"(\d{1,6})(?:\s*[-–]\s*(\d{1,6}))?", re.ASCII)


@dataclass(frozen=True)
class AdapterSettings:
    """strength multiplies the adapter's scaling; layers_off: numbers of layers without it."""

    strength: float = 1.0
    layers_off: frozenset[int] = frozenset()

    def label(self, title: str) -> str:
        """`pirate at strength 0.5, layers 0–3 off`; the title alone where it is as trained."""
        used = title
        if self.strength != 1.0:
            used = tr("{name} at strength {strength}", name=title, strength=f"{self.strength:g}")
        layers = format_layers(self.layers_off).replace("-", "–")
        if len(self.layers_off) > 1:
            return tr("{name}, layers {layers} off", name=used, layers=layers)
        return tr("{name}, layer {layers} off", name=used, layers=layers) if layers else used


AS_TRAINED = AdapterSettings()
ALL_AS_TRAINED: Mapping[str, AdapterSettings] = MappingProxyType({})
"""Settings by column name, for functions that take them: a column that is missing is as trained."""


@dataclass(frozen=True)
class AdapterVariant:
    """An adapter, by its key in `SharedBase`, with its settings; adapter None is the base."""

    adapter: str | None = None
    settings: AdapterSettings = AS_TRAINED


def parse_layers(text: str) -> frozenset[int]:
    """The layers that a text names, such as "0-3, 7"; none for an empty one.

    Raises EngineError for anything else.
    """
    if len(text) > MAX_LAYERS_TEXT:
        raise EngineError(
            tr(
                "The layers to switch off are {count} characters long; at most "
                "{max_layers_text} are read.",
                count=f"{len(text):,}",
                max_layers_text=f"{MAX_LAYERS_TEXT:,}",
            ),
            tr("Write neighbors as a range, such as 0-3."),
        )
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    return frozenset(layer for part in parts for layer in _layers_of(part))


def format_layers(layers: Collection[int]) -> str:
    """Layers as `parse_layers` reads them, neighbours as a range: "0-3, 7"."""
    ranges: list[list[int]] = []
    for layer in sorted(layers):
        if ranges and ranges[-1][1] == layer - 1:
            ranges[-1][1] = layer
        else:
            ranges.append([layer, layer])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)


def _layers_of(part: str) -> Iterator[int]:
    found = _PART.fullmatch(part)
    if found is None:
        raise EngineError(
            tr("{part} names no layer.", part=f"{part[:40]!r}"),
            tr("Write numbers and ranges, such as 0-3, 7."),
        )
    first, last = int(found[1]), int(found[2] or found[1])
    if not first <= last <= MAX_LAYER:
        raise EngineError(
            tr(
                "The layers {part} do not run upwards from 0 to at most {max_layer}.",
                part=f"{part!r}",
                max_layer=f"{MAX_LAYER:,}",
            ),
            tr("Write the smaller number first, such as 0-3."),
        )
    yield from range(first, last + 1)
