"""How fast this machine multiplies matrices, measured in under a second, once a process.

A training step is mostly matrix products but not only: how much of the probe's rate a run reaches
is a stated share, not measured here.
"""

from __future__ import annotations

import time
from functools import lru_cache

SHARE_REACHED = 0.4  # of the probe's rate; steps reach 0.3 to 0.5 of it on common machines
PROBE_S = 0.3
SIDES = {"cpu": 1024, "cuda": 8192}


def device_here() -> str:
    """cuda where torch finds one, else cpu."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@lru_cache(maxsize=2)
def matmul_flops_per_second(device: str = "cpu") -> float:
    """Operations a second of square products: float32 on a CPU, bfloat16 on CUDA.

    2 n^3 operations a product, over the best of the repetitions that fit PROBE_S.
    """
    import torch

    side = SIDES[device]
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    a = torch.randn(side, side, device=device, dtype=dtype)
    out = a @ a  # the first product loads the kernel
    best, started = float("inf"), time.perf_counter()
    while time.perf_counter() - started < PROBE_S:
        before = time.perf_counter()
        torch.mm(a, a, out=out)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - before)
    return 2 * side**3 / best


def seconds_here(flops: float, device: str = "cpu") -> float:
    """About how long so many operations take in training on this machine."""
    return flops / (SHARE_REACHED * matmul_flops_per_second(device))
