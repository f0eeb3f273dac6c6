"""Matrix products of the training step, by one of two libraries inside torch.

On x86 processors torch sends float32 products to Intel's MKL. oneDNN, which 16-bit products go to
anyway, can be the faster one for them too; which it is depends on the processor and on the sizes,
and `product_library` measures it (docs/training_speed.md). Both compute in float32 and differ only
in the order of the sums. Nothing here is differentiable: it serves hand-written gradients.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import Literal

import torch
from torch.nn import functional

Library = Literal["torch", "onednn"]
_library: ContextVar[Library] = ContextVar("product_library", default="torch")

# oneDNN generates code for every size of product and caches it, and batches differ in size. With
# its default of 1,024 cached kernels a run of 60 steps grew by 770 MiB; with this limit it grew by
# 90 MiB and was no slower.
CACHED_KERNELS = "64"
MOST_THIN = 64


def use(library: Library) -> None:
    """Send this thread's float32 products on the CPU to a library; "torch" is torch's own choice.

    A library that this build of torch lacks is not used.
    """
    _library.set(library if has_choice() else "torch")


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x Wᵀ + b. x (tokens, in), weight (out, in), bias (out,); returns (tokens, out)."""
    if _is_for_onednn(x, weight):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return functional.linear(x, weight, bias)


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a b. a (m, n), b (n, k); returns (m, k).

    b is often an adapter's few columns. MKL multiplies by them two to three times as fast where
    they are the rows of a matrix, which costs a copy of them.
    """
    is_thin = b.shape[1] <= MOST_THIN and b.shape[0] > MOST_THIN
    return linear(a, b.T.contiguous() if is_thin else b.T)


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
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", CACHED_KERNELS)
    os.environ.setdefault("LRU_CACHE_CAPACITY", CACHED_KERNELS)


def has_choice() -> bool:
    """Whether this build of torch has both libraries."""
    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _is_for_onednn(x: torch.Tensor, weight: torch.Tensor) -> bool:
    return (
        _library.get() == "onednn"
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and min(*x.shape, *weight.shape) > 0
    )
