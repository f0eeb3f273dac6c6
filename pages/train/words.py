"""Figures of a forecast in words; what is not known says so. Knows no field and no component."""

from __future__ import annotations

from lora_engine.language import tr
from pages.shared import layout

MINUTES_ALONE, HOUR = 600, 3600  # seconds


def about(seconds: float | None) -> str:
    """25.3 -> 'about 25 s'."""
    if seconds is None:
        return tr("time not known")
    rounded = _rounded(seconds)
    if MINUTES_ALONE <= seconds < HOUR or rounded in range(60, HOUR, 60):
        return tr("about {minutes} min", minutes=round(rounded / 60))
    return tr("about {time}", time=layout.duration(rounded))


def memory(gib: float | None) -> str:
    """0.4893 -> '0.49 GiB'."""
    return tr("memory not known") if gib is None else f"{gib_number(gib)} GiB"


def gib_number(gib: float) -> str:
    """Two digits: a prediction is no finer."""
    if gib >= 100:
        return f"{gib:,.0f}"
    return f"{gib:.1f}" if gib >= 1 else f"{gib:.2f}"


def _rounded(seconds: float) -> float:
    """As fine as a forecast is: 133.6 -> 135, 25.3 -> 25."""
    for over, step in ((HOUR, 300), (60, 5), (10, 1)):
        if seconds >= over:
            return round(seconds / step) * step
    return seconds
