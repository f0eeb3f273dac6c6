"""The training step's products give the same through either of torch's libraries."""

from __future__ import annotations

import os

import pytest
import torch

from lora_engine.training.kernels import matmul
from lora_engine.training.kernels.fused_linear import LayerTensors, adapted_linears
from lora_engine.training.kernels.head_loss import HeadLoss

LIBRARIES = ("torch", "onednn")


@pytest.fixture(autouse=True)
def _torchs_own_afterwards():
    yield
    matmul.use("torch")


needs_both = pytest.mark.skipif(
    not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()),
    reason="this torch was built without MKL or without oneDNN, so there is no choice",
)


@needs_both
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("shape", [(7, 5, 3), (300, 256, 40), (1, 4, 1), (0, 4, 3)])
def test_linear_and_product(library, shape):
    matmul.use(library)
    torch.manual_seed(0)
    m, k, n = shape
    x, w, b = torch.randn(m, k), torch.randn(n, k), torch.randn(n)
    exact = x.double() @ w.double().T
    assert matmul._is_for_onednn(x, w) == (library == "onednn" and min(shape) > 0)
    torch.testing.assert_close(matmul.linear(x, w, b), (exact + b).float(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(matmul.linear(x, w), exact.float(), rtol=1e-5, atol=1e-4)
    # transposed views, as the gradients hand them over
    torch.testing.assert_close(
        matmul.product(w, x.T), exact.T.float().contiguous(), rtol=1e-5, atol=1e-4
    )


@needs_both
def test_gradients_are_the_same_through_either():
    torch.manual_seed(0)
    weight, a, b = torch.randn(40, 24), torch.randn(4, 24), torch.randn(40, 4)
    head, targets = torch.randn(50, 40), torch.randint(0, 50, (33,))
    x = torch.randn(33, 24)

    def gradients(library: matmul.Library) -> list[torch.Tensor]:
        matmul.use(library)
        tensors = [t.clone().requires_grad_() for t in (x, a, b)]
        layer = LayerTensors(weight, None, tensors[1], tensors[2], 2.0, torch.float32)
        (y,) = adapted_linears(tensors[0], layer)
        HeadLoss.apply(y, head, None, targets).backward()
        return [t.grad for t in tensors]

    for one, other in zip(gradients("torch"), gradients("onednn"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_persons_own_limit_of_kept_kernels_stays(monkeypatch):
    names = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    for name in names:
        monkeypatch.setenv(name, "unset")
        monkeypatch.delenv(name)
    monkeypatch.setenv(names[0], "7")
    matmul.limit_kernel_cache()
    assert [os.environ[name] for name in names] == ["7", matmul.CACHED_KERNELS]
