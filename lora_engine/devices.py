"""The devices that runs take turns on: each GPU by its number, or the processor.

Asked without torch, which a server need not load for this: the NVIDIA driver lists its cards
under /proc. Whether torch can use a card is found out by the worker, which says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lora_engine.settings import Settings

CPU = "cpu"
DRIVER_LISTING = Path("/proc/driver/nvidia/gpus")


def list_devices(
    settings: Settings,
    environment: Mapping[str, str] = os.environ,
    driver_listing: Path = DRIVER_LISTING,
) -> list[str]:
    """`["cpu"]`, or the cards by what CUDA_VISIBLE_DEVICES calls them: `["0", "1"]`."""
    if settings.device == "cpu":
        return [CPU]
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        cards = [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    else:
        cards = [str(number) for number in range(_count(driver_listing))]
    return cards or [CPU]


def _count(driver_listing: Path) -> int:
    return len(list(driver_listing.iterdir())) if driver_listing.is_dir() else 0
