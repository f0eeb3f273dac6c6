"""What the machine is doing, in one slim line: processor, memory, disk, and each GPU."""

from __future__ import annotations

from html import escape

from lora_engine.language import tr
from lora_engine.machine import MachineReading
from lora_engine.nvidia_cards import CardReading
from pages.shared import layout

EMPTY = '<dl class="rs-machine"></dl>'
"""Takes the room of the gauges until they are read."""


def html(reading: MachineReading) -> str:
    """The gauges; escaped here."""
    busy = round(100 * reading.processor)
    memory = reading.memory_used_bytes / reading.memory_total_bytes
    disk = 1 - reading.disk_free_bytes / reading.disk_total_bytes
    gauges = [
        _gauge(
            tr("Processor"),
            reading.processor,
            tr("{percent} % of {cores} cores", percent=busy, cores=reading.cores),
        ),
        _gauge(tr("Memory"), memory, _of(reading.memory_used_bytes, reading.memory_total_bytes)),
        _gauge(tr("Disk"), disk, tr("{size} free", size=layout.byte_size(reading.disk_free_bytes))),
        *(_card(card) for card in reading.cards),
    ]
    if not reading.cards:
        gauges.append(f"<div><dt>{escape(tr('GPU'))}</dt><dd>{escape(tr('none here'))}</dd></div>")
    label = escape(tr("This machine"))
    return f'<dl class="rs-machine" aria-label="{label}">{"".join(gauges)}</dl>'


def _card(card: CardReading) -> str:
    memory = _of(card.used_bytes, card.total_bytes)
    if card.busy is None:
        return _gauge(card.name, card.used_bytes / card.total_bytes, memory)
    words = tr("{percent} %, {memory}", percent=round(100 * card.busy), memory=memory)
    return _gauge(card.name, card.busy, words)


def _of(used: float, total: float) -> str:
    return tr("{used} of {total}", used=layout.byte_size(used), total=layout.byte_size(total))


def _gauge(name: str, share: float, words: str) -> str:
    percent = round(100 * min(max(share, 0.0), 1.0))
    return (
        f'<div><dt>{escape(name)}</dt><dd><span class="rs-gauge" aria-hidden="true">'
        f'<span style="width:{percent}%"></span></span>{escape(words)}</dd></div>'
    )
