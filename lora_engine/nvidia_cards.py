"""NVIDIA cards as their driver sees them: how busy each is, and its memory.

Asks NVML, the driver's own library, through ctypes: it needs no torch and no further package, and
makes no CUDA context, which would take memory of the card. Where there is no driver there are no
cards. Knows nothing of runs.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
NAME_BYTES = 96


@dataclass(frozen=True)
class CardReading:
    """One card now. busy: the share of the last moments in which it computed; None where the
    driver does not say, as for a part of a divided card."""

    name: str
    busy: float | None
    used_bytes: int
    total_bytes: int


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class _Utilization(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


def read_cards(nvml: Any = None) -> tuple[CardReading, ...]:
    """Every card that the driver lists; one that does not answer is left out.

    nvml: the library; None for the driver's own.
    """
    nvml = nvml or _library()
    count = ctypes.c_uint()
    if nvml is None or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return ()
    found = (_read_card(nvml, number) for number in range(count.value))
    return tuple(card for card in found if card is not None)


def _read_card(nvml: Any, number: int) -> CardReading | None:
    handle, memory, busy = ctypes.c_void_p(), _Memory(), _Utilization()
    name = ctypes.create_string_buffer(NAME_BYTES)
    if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(number), ctypes.byref(handle)):
        return None
    if nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)):
        return None
    is_named = not nvml.nvmlDeviceGetName(handle, name, ctypes.c_uint(NAME_BYTES))
    is_told = not nvml.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(busy))
    return CardReading(
        name=name.value.decode("utf-8", "replace") if is_named else f"GPU {number}",
        busy=busy.gpu / 100 if is_told else None,
        used_bytes=memory.used,
        total_bytes=memory.total,
    )


@cache
def _library() -> Any:
    """NVML, begun; None where there is no driver."""
    try:
        nvml = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    return None if nvml.nvmlInit_v2() else nvml
