"""Devices: those that runs take turns on, and the one that a process computes on.

`list_devices` needs no torch, which a server would load for this alone: the NVIDIA driver lists
its cards in a folder. Whether torch can use a card is the worker's question, which `pick_device`
answers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.operating_system import NVIDIA_DRIVER_LISTING
from lora_engine.settings import Settings

CPU = "cpu"


def list_devices(
    settings: Settings,
    environment: Mapping[str, str] = os.environ,
    driver_listing: Path = NVIDIA_DRIVER_LISTING,
) -> list[str]:
    """`["cpu"]`, or the cards as CUDA_VISIBLE_DEVICES names them: `["0", "1"]`."""
    if settings.device in (CPU, "mps"):  # a Mac's GPU has the host's memory, and is one with it
        return [CPU]
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        cards = [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    else:
        cards = [str(number) for number in range(_count(driver_listing))]
    return cards or [CPU]


def most_devices(settings: Settings, environment: Mapping[str, str] = os.environ) -> int:
    """How many devices one run may take: the cards, or on the CPU a process for each core.

    Two processes are allowed on any processor, to try out what two devices do.
    """
    if settings.device == "mps":
        return 1
    found = list_devices(settings, environment)
    return max(2, os.cpu_count() or 1) if found == [CPU] else len(found)


def named_devices(devices: Sequence[str], count: int) -> str:
    """The first `count` of them as CUDA_VISIBLE_DEVICES names them: `0,1`; the CPU is one device,
    however many processes it runs."""
    return ",".join(devices[:count])


def pick_device(settings: Settings) -> str:
    """`cpu`, `cuda` or `mps`. Raises EngineError where one is asked for and does not work."""
    import torch

    if settings.device == "cuda" and not torch.cuda.is_available():
        raise EngineError(
            tr("LORA_DEVICE is cuda, but torch finds no CUDA device."),
            tr("Set LORA_DEVICE to auto or cpu, or install a CUDA build of torch."),
        )
    if settings.device == "mps" and not torch.backends.mps.is_available():
        raise EngineError(
            tr("LORA_DEVICE is mps, but torch finds no Apple GPU."),
            tr("Set LORA_DEVICE to auto or cpu; MPS needs macOS on Apple silicon."),
        )
    if settings.device in (CPU, "mps"):
        return settings.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _count(driver_listing: Path) -> int:
    return len(list(driver_listing.iterdir())) if driver_listing.is_dir() else 0
