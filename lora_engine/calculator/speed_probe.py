"""How fast this machine multiplies matrices, measured in under a second, once a process.

A training step is mostly matrix products but not only: how much of the probe's rate a run reaches
is a stated share, not measured here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import lru_cache

SHARE_REACHED = 0.4  # of the probe's rate; steps reach 0.3 to 0.5 of it on common machines
# On two cores that ten programs shared (load 8), the wall clock gave 7 to 30 GFLOP/s, the thread's
# own clock 100 to 160; the quiet machine has about 190.
SIDES = {"cpu": 512, "cuda": 8192}
BURSTS, BURST_S, REST_S = 5, 0.08, 0.04


def device_here() -> str:
    """cuda where torch finds one, else cpu."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@lru_cache(maxsize=2)
def matmul_flops_per_second(device: str = "cpu") -> float:
    """Operations a second of square products: float32 on a CPU, bfloat16 on CUDA.

    2 n^3 operations a product, over the shortest of them all (`shortest`).
    """
    import torch

    side = SIDES[device]
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    a = torch.randn(side, side, device=device, dtype=dtype)
    out = a @ a  # the first product loads the kernel

    def product() -> None:
        torch.mm(a, a, out=out)
        if device == "cuda":
            torch.cuda.synchronize()

    return (
        2 * side**3 / shortest(product, time.thread_time if device == "cpu" else time.perf_counter)
    )


def shortest(
    work: Callable[[], None],
    clock: Callable[[], float],
    wall: Callable[[], float] = time.perf_counter,
    rest: Callable[[float], None] = time.sleep,
) -> float:
    """The shortest time that `work` takes by `clock`, over BURSTS of repetitions with rests.

    Other programs can only lengthen a repetition, and the bursts do not all fall into one busy
    spell. A thread's own clock stands still while another program has its core.
    """
    best = math.inf
    for _ in range(BURSTS):
        started = wall()
        while wall() - started < BURST_S:
            before = clock()
            work()
            best = min(best, clock() - before)
        rest(REST_S)
    return best


def seconds_here(flops: float, device: str = "cpu") -> float:
    """About how long so many operations take in training on this machine."""
    return flops / (SHARE_REACHED * matmul_flops_per_second(device))
