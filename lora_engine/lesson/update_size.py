"""How large ΔW becomes at each rank: with alpha/r, and with rsLoRA's alpha/√r.

One layer of 64 × 64 numbers, and one step of Adam from B = 0. Adam's first step moves every number
of B by the learning rate, whatever the scaling: B = -rate · sign(G Aᵀ), G the loss's gradient at W
(Kingma and Ba, arXiv 1412.6980: the first step is g/|g|). So ‖B A‖ is measured once for each rank,
and every alpha and both scalings follow by a multiplication. Knows no model.
"""

from __future__ import annotations

from functools import cache

import numpy as np

SIDE, INPUTS = 64, 32
RATE = 1e-3
RANKS = (1, 2, 4, 8, 16, 32, 64)
SEEDS = 8


@cache
def product_norms() -> tuple[float, ...]:
    """‖B A‖ (Frobenius) after Adam's first step at each of RANKS, the mean of SEEDS draws."""
    return tuple(
        float(np.mean([_norm(rank, np.random.default_rng([seed, rank])) for seed in range(SEEDS)]))
        for rank in RANKS
    )


def scalings(alpha: float, rank: int) -> tuple[float, float]:
    """alpha/r (LoRA) and alpha/√r (rsLoRA, arXiv 2312.03732)."""
    return alpha / rank, alpha / rank**0.5


def first_step(A: np.ndarray, G: np.ndarray) -> np.ndarray:
    """B (out, rank) after one step of Adam from zero. A (rank, in), G = dL/dW (out, in)."""
    return -RATE * np.sign(G @ A.T)


def _norm(rank: int, generator: np.random.Generator) -> float:
    """‖B A‖ for one draw: inputs and errors random, A as PEFT draws it, uniform in ±1/√in."""
    inputs = generator.normal(size=(SIDE, INPUTS))
    errors = generator.normal(size=(SIDE, INPUTS))
    A = generator.uniform(-1, 1, size=(rank, SIDE)) / np.sqrt(SIDE)
    return float(np.linalg.norm(first_step(A, errors @ inputs.T) @ A))
