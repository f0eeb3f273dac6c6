"""Matrix products of the training step, by the faster of the libraries inside torch.

torch sends a float32 product on an x86 processor to Intel's MKL, which reached less than half the
speed of oneDNN on an AMD EPYC (docs/training_speed.md); for 16-bit products torch takes oneDNN
itself. Both compute in float32 and differ only in the order of the sums. The choice rests on the
processor alone, so that a resumed run computes what the first part computed. Nothing here is
differentiable: it serves hand-written gradients.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import torch
from torch.nn import functional

CPUINFO = Path("/proc/cpuinfo")
# oneDNN makes code for every size of product it meets and keeps it, and batches differ in size:
# with its own bound of 1,024 a run of 60 steps grew by 770 MiB, with this one by 90, no slower.
KEPT_KERNELS = "64"


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x Wᵀ + b. x (tokens, in), weight (out, in), bias (out,); returns (tokens, out)."""
    if _is_for_onednn(x, weight):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return functional.linear(x, weight, bias)


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a b. a (m, n), b (n, k); returns (m, k)."""
    return linear(a, b.T)


def add_product(total: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    """total += a b, in place. total (m, k), a (m, n), b (n, k)."""
    if _is_for_onednn(a, b):
        total += product(a, b)
    else:
        total.addmm_(a, b)


def bound_kept_kernels() -> None:
    """Let oneDNN keep few products' code. To be called before this process's first product.

    Only where float32 products go there; sizes of 16-bit products are few (`packed.SIZES`).
    """
    if mkl_is_slow():
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", KEPT_KERNELS)
        os.environ.setdefault("LRU_CACHE_CAPACITY", KEPT_KERNELS)


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
