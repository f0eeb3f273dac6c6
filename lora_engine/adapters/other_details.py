"""The modules of an adapter that is not LoRA: their tensors, and how far they have moved.

Knows nothing of where the adapter comes from; `details` puts that beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lora_engine.adapters.other_weights import PROMPT, OtherAdapter
from lora_engine.language import tr
from lora_engine.weights.matrix import check_memory
from lora_engine.weights.safetensors_file import SafetensorsFile, number_format
from lora_engine.weights.stored_matrix import read_exactly

STARTS = {"ia3": ("ia3_l", 1.0), "vera": ("vera_lambda_b", 0.0), "loha": ("hada_w2_b", 0.0),
          "bottleneck": ("bottleneck.up.weight", 0.0)}  # fmt: skip
"""The part of a module that starts at one number, at which the module changes nothing."""


@dataclass(frozen=True)
class PartFacts:
    """A module of an adapter that is not LoRA, or its virtual tokens.

    tensors: shape by part. norm: the Frobenius norm of how far the part that starts without effect
    is from its start (IA³'s factors from 1, VeRA's λ_b, LoHa's w2_b and a bottleneck's second
    half from 0); of virtual tokens, of all their numbers. None where a value is not finite.
    """

    name: str
    tensors: Mapping[str, tuple[int, ...]]
    norm: float | None
    parameters: int


def part_facts(adapter: OtherAdapter) -> tuple[PartFacts, ...]:
    """Every module of a whole adapter; for virtual tokens, themselves."""
    if not adapter.modules:
        entry = adapter.file.tensors[PROMPT]
        norm = _norm(adapter.file, PROMPT, 0.0)
        return (
            PartFacts(tr("virtual tokens"), {PROMPT: entry.shape}, norm, math.prod(entry.shape)),
        )
    part, start = STARTS[adapter.kind]
    found = []
    for name, keys in adapter.modules.items():
        shapes = {its: adapter.entry(name, its).shape for its in keys}
        norm = _norm(adapter.file, keys[part], start)
        found.append(PartFacts(name, shapes, norm, sum(map(math.prod, shapes.values()))))
    return tuple(found)


def values_of(file: SafetensorsFile, key: str) -> np.ndarray:
    """A tensor as float64, not finite values among them."""
    entry = file.entry(key)
    check_memory(key, math.prod(entry.shape))
    number = number_format(entry)
    data = read_exactly(file.path, entry.start, entry.end - entry.start)
    raw = np.frombuffer(data, number.storage)
    return number.widen(raw.reshape(entry.shape)).astype(np.float64)


def _norm(file: SafetensorsFile, key: str, start: float) -> float | None:
    value = float(np.linalg.norm(values_of(file, key) - start))
    return value if math.isfinite(value) else None
