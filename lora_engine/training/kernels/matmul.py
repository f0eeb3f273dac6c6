"""Matrix products of the training step, by the faster of two libraries inside torch.

On x86 processors torch sends float32 products to Intel's MKL, which reached less than half the
speed of oneDNN on an AMD EPYC (docs/training_speed.md); 16-bit products go to oneDNN anyway. Both
compute in float32 and differ only in the order of the sums. The choice depends on the processor
alone, so that a resumed run computes as its first part did. Nothing here is differentiable: it
serves hand-written gradients.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import torch
from torch.nn import functional

CPUINFO = Path("/proc/cpuinfo")
# oneDNN generates code for every size of product and caches it, and batches differ in size. With
# its default of 1,024 cached kernels a run of 60 steps grew by 770 MiB; with this limit it grew by
# 90 MiB and was no slower.
CACHED_KERNELS = "64"


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x Wᵀ + b. x (tokens, in), weight (out, in), bias (out,); returns (tokens, out)."""
    if _is_for_onednn(x, weight):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return functional.linear(x, weight, bias)


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a b. a (m, n), b (n, k); returns (m, k)."""
    return linear(a, b.T)


def add_product(total: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    """total += a b, in place. total (m, k), a (m, n), b (n, k).

    torch's addmm_ adds without a temporary product; through oneDNN the product is made first.
    """
    if _is_for_onednn(a, b):
        total += product(a, b)
    else:
        total.addmm_(a, b)


def limit_kernel_cache() -> None:
    """Limit oneDNN's cache of generated kernels. Call it before the process's first product.

    Only where float32 products go to oneDNN: 16-bit products have few sizes
    (`packed.TOKEN_MULTIPLE`). A limit that the person has set stays.
    """
    if mkl_is_slow():
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", CACHED_KERNELS)
        os.environ.setdefault("LRU_CACHE_CAPACITY", CACHED_KERNELS)


def _is_for_onednn(x: torch.Tensor, weight: torch.Tensor) -> bool:
    return (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and min(*x.shape, *weight.shape) > 0
        and mkl_is_slow()
    )


@cache
def mkl_is_slow() -> bool:
    """Whether torch would send float32 products to MKL on a processor that is not Intel's."""
    has_both = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    return (
        has_both
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and CPUINFO.is_file()
        and "AuthenticAMD" in CPUINFO.read_text()
    )
