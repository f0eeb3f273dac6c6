"""What one of several devices holds of a run that they share.

Without sharding that is all that one device alone would hold, with fewer rows in a pass. FSDP
divides the decoder's layers; those that compute are there whole, with the next that is fetched.
"""

from __future__ import annotations

import math

from lora_engine.calculator.memory_request import GIB, MemoryItem, MemoryRequest
from lora_engine.calculator.model_profile import ModelProfile
from lora_engine.language import tr, translatable

FETCHED = 2  # layers that a device has whole at a time


def tokens_of_device(tokens: int, longest: int, devices: int) -> int:
    """Of the largest batch of a step; a device takes one row at the least."""
    return tokens if devices == 1 else max(longest, math.ceil(tokens / devices))


def is_divided(q: MemoryRequest) -> bool:
    """Whether the frozen base is divided over the devices."""
    return q.trains and q.optimization.sharding == "fsdp" and q.optimization.devices > 1


def divided_items(profile: ModelProfile, q: MemoryRequest) -> list[MemoryItem]:
    """The base's weights on one device."""
    layers = [layer.parameters for layer in profile.shape.layers]
    rest, size = profile.shape.parameters - sum(layers), q.weight_bytes
    count, devices = sum(layers), q.optimization.devices
    fetched = FETCHED * max(layers, default=0)
    whole = tr("{count} (embeddings, head, norms) × {size} bytes", count=f"{rest:,}", size=size)
    parts = tr(
        "{count} weights × {size} bytes / {devices} devices + {fetched} layers fetched whole",
        count=f"{count:,}",
        size=size,
        devices=devices,
        fetched=FETCHED,
    )
    held = (count / devices + fetched) * size / GIB
    return [
        MemoryItem(translatable("weights outside the layers"), rest * size / GIB, whole, "weights"),
        MemoryItem(translatable("divided layers"), held, parts, "weights"),
    ]
