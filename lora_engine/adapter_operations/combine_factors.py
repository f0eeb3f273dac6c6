"""Factors of several adapters made one: summed exactly, or by TIES and DARE as PEFT defines them.

TIES (Yadav and others 2023) and DARE (Yu and others 2024) act on A and B apart, number by number,
as PEFT's `add_weighted_adapter` does: each source's factors count with sqrt(|weight * scaling|),
the sign on A. Arrays in, arrays out; knows no file and no configuration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lora_engine.spectrum import Factors, stack

Method = Literal["exact", "ties", "dare_ties", "dare_linear"]
METHODS: tuple[Method, ...] = ("exact", "ties", "dare_ties", "dare_linear")


@dataclass(frozen=True, eq=False)
class WeightedFactors:
    """lora_B = factors.left and lora_A = factors.right, as stored; strength = weight * scaling."""

    factors: Factors
    strength: float


def weighted_sum(sources: Sequence[WeightedFactors]) -> Factors:
    """sum of strength * B A by concatenation: [s1 B1 | s2 B2 | ...] and [A1; A2; ...]."""
    return stack((one.factors, one.strength) for one in sources)


def merged_by(
    method: Method,
    sources: Sequence[WeightedFactors],
    density: float,
    random: np.random.Generator,
) -> Factors:
    """A and B merged number by number; all sources have one rank.

    density: the share of each factor's numbers that is kept.
    """
    roots = [math.sqrt(abs(one.strength)) for one in sources]
    signed = [math.copysign(root, one.strength) for root, one in zip(roots, sources, strict=True)]
    merge = _merge_of(method, density, random)
    right = merge([one.factors.right.astype(np.float64) for one in sources], np.array(signed))
    left = merge([one.factors.left.astype(np.float64) for one in sources], np.array(roots))
    return Factors(left, right)


Merge = Callable[[Sequence[np.ndarray], np.ndarray], np.ndarray]


def _merge_of(method: Method, density: float, random: np.random.Generator) -> Merge:
    def largest(tensors: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([keep_largest(tensor, density) for tensor in tensors])

    def at_random(tensors: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([keep_at_random(tensor, density, random) for tensor in tensors])

    def linear(tensors: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
        return np.tensordot(weights, at_random(tensors), axes=1)

    if method == "dare_linear":
        return linear
    prune = largest if method == "ties" else at_random
    return lambda tensors, weights: elect_and_merge(prune(tensors), weights)


def keep_largest(tensor: np.ndarray, density: float) -> np.ndarray:
    """TIES trims: the int(density * size) numbers of largest magnitude stay, the others are 0."""
    count = int(density * tensor.size)
    if count >= tensor.size:
        return tensor
    flat = tensor.reshape(-1)
    kept = np.argpartition(np.abs(flat), tensor.size - count)[tensor.size - count :]
    trimmed = np.zeros_like(flat)
    trimmed[kept] = flat[kept]
    return trimmed.reshape(tensor.shape)


def keep_at_random(tensor: np.ndarray, density: float, random: np.random.Generator) -> np.ndarray:
    """DARE drops: each number stays with probability `density`, and is divided by it."""
    if density >= 1.0:
        return tensor
    return np.where(random.random(tensor.shape) < density, tensor / density, 0.0)


def elect_and_merge(tensors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """TIES elects and merges: (sources, ...) to (...).

    The sign of a number's sum wins (0 counts as positive); the mean of the weighted numbers of
    that sign is taken.
    """
    elected = np.where(tensors.sum(axis=0) >= 0, 1.0, -1.0)
    agrees = np.sign(tensors) == elected
    merged = np.tensordot(weights, tensors * agrees, axes=1)
    return merged / np.maximum(agrees.sum(axis=0), 1.0)
