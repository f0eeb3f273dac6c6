"""NF4 on a real weight of the starter: its 16 levels, a block of 64 rounded, and what it costs.

A block of 64 neighbours is divided by its largest magnitude (absmax) and each number becomes the
nearest of 16 levels, which hold equal shares of a normal distribution (QLoRA, arXiv 2305.14314,
section 3 and appendix E). Reads the starter's file; knows no page.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from lora_engine.starter import MODEL_DIR
from lora_engine.weights.checkpoint import open_checkpoint

LEVELS = (
    -1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0,
)  # fmt: skip
BLOCK, DOUBLE_BLOCK = 64, 256
WEIGHT = "model.layers.1.self_attn.q_proj.weight"
BINS = 80


@dataclass(frozen=True, eq=False)
class RoundedWeight:
    """One weight in NF4.

    counts: a histogram of weight / absmax in BINS equal bins from -1 to 1. used: how many numbers
    each level takes. first: the numbers of the first block; first_codes: their levels' places.
    error: ‖rounded − weight‖ / ‖weight‖; uniform_error: the same with 16 evenly spaced levels.
    """

    name: str
    shape: tuple[int, int]
    counts: tuple[int, ...]
    used: tuple[int, ...]
    first: tuple[float, ...]
    first_codes: tuple[int, ...]
    error: float
    uniform_error: float

    @property
    def absmax(self) -> float:
        """Of the first block."""
        return max(abs(one) for one in self.first)


@dataclass(frozen=True)
class BitsAWeight:
    """What one weight takes: 4 bits, and its share of the constants, plain and quantized again."""

    code: float
    constants: float
    constants_double: float


def bits_a_weight() -> BitsAWeight:
    """A float32 for 64 weights: 32/64. Twice quantized: 8/64 + 32/(64 · 256)."""
    double = 8 / BLOCK + 32 / (BLOCK * DOUBLE_BLOCK)
    return BitsAWeight(4.0, 32 / BLOCK, double)


def round_to(levels: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """For every number of blocks (count, 64) the place of the level nearest to it / absmax."""
    middles = (levels[1:] + levels[:-1]) / 2
    return np.searchsorted(middles, blocks / _absmax(blocks))


def widened(levels: np.ndarray, codes: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """The numbers that the codes stand for: level · absmax."""
    return levels[codes] * _absmax(blocks)


@cache
def rounded_weight() -> RoundedWeight:
    """The starter's weight WEIGHT in NF4."""
    source = open_checkpoint(MODEL_DIR).matrix(WEIGHT)
    blocks = source.rows(0, source.shape[0]).astype(np.float64).reshape(-1, BLOCK)
    levels = np.array(LEVELS)
    codes = round_to(levels, blocks)
    counts, _ = np.histogram(blocks / _absmax(blocks), BINS, (-1.0, 1.0))
    return RoundedWeight(
        name=WEIGHT.removesuffix(".weight"),
        shape=source.shape,
        counts=tuple(counts.tolist()),
        used=tuple(np.bincount(codes.ravel(), minlength=16).tolist()),
        first=tuple(blocks[0].tolist()),
        first_codes=tuple(codes[0].tolist()),
        error=_relative_error(levels, blocks),
        uniform_error=_relative_error(np.linspace(-1, 1, 16), blocks),
    )


def _relative_error(levels: np.ndarray, blocks: np.ndarray) -> float:
    rounded = widened(levels, round_to(levels, blocks), blocks)
    return float(np.linalg.norm(rounded - blocks) / np.linalg.norm(blocks))


def _absmax(blocks: np.ndarray) -> np.ndarray:
    """(count, 1); 1 for a block of zeros."""
    found = np.abs(blocks).max(axis=1, keepdims=True)
    return np.where(found, found, 1.0)
