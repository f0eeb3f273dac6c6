"""The memory that a device has free now: the host's, within our cgroup's limit, or a card's.

Knows no run and no torch; imports psutil when it is first asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lora_engine.devices import CPU
from lora_engine.nvidia_cards import read_cards

CGROUP = Path("/sys/fs/cgroup")
RECLAIMABLE = ("inactive_file", "active_file", "slab_reclaimable")
"""What a cgroup counts as used and the kernel gives away when it is asked for."""


@dataclass(frozen=True)
class DeviceMemory:
    """One moment. free: what a new program could have."""

    free_bytes: int
    total_bytes: int


def device_memory(device: str, cgroup: Path = CGROUP) -> DeviceMemory | None:
    """The memory of a device as `list_devices` names it; None where nothing tells it, such as for
    a part of a divided card."""
    if device != CPU:
        cards = read_cards()
        if not (device.isdecimal() and int(device) < len(cards)):
            return None
        card = cards[int(device)]
        return DeviceMemory(card.total_bytes - card.used_bytes, card.total_bytes)
    import psutil

    host = psutil.virtual_memory()
    whole = DeviceMemory(host.available, host.total)
    ours = _of_cgroup(cgroup)
    return whole if ours is None else min(whole, ours, key=lambda one: one.free_bytes)


def _of_cgroup(folder: Path) -> DeviceMemory | None:
    """What our cgroup leaves us; None where it sets no limit."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not limit.isdecimal():
        return None
    counts = dict(line.split() for line in lines)
    kept = max(0, used - sum(int(counts.get(name, 0)) for name in RECLAIMABLE))
    return DeviceMemory(max(0, int(limit) - kept), int(limit))
