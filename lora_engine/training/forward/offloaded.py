"""Activations that wait for the backward pass in the host's memory. The losses stay the same.

Autograd's hooks see every tensor that a forward pass saves. It is copied into pinned host memory,
and copied back where the backward pass asks for it. All copies run in the order of the device's
own stream, so no memory is read or freed too early. The weights, which are on the device anyway,
and small tensors stay there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.training.forward.around import PathAround

if TYPE_CHECKING:
    import torch
    from torch import nn

LEAST_BYTES = 1 << 16  # a smaller tensor takes longer to send than it is worth


@dataclass(frozen=True)
class OffloadedPath(PathAround):
    """`inner`, whose passes keep their activations on the host."""

    @property
    def words(self) -> str:
        return "activations wait in host memory"

    def around(self) -> AbstractContextManager[None]:
        return saved_on_host(self.model)


@dataclass(frozen=True)
class OnHost:
    """A saved tensor. numbers: end to end in its own order of dimensions, which `order` names."""

    numbers: torch.Tensor
    order: tuple[int, ...]
    device: torch.device

    @classmethod
    def copied(cls, tensor: torch.Tensor) -> OnHost:
        """The kernels of the backward pass get a tensor of the same layout, and round alike."""
        import torch

        strides = tensor.stride()
        order = tuple(sorted(range(tensor.dim()), key=lambda at: -strides[at]))
        dense = tensor.permute(order).contiguous()
        is_pinned = tensor.device.type == "cuda"
        host = torch.empty(dense.shape, dtype=dense.dtype, pin_memory=is_pinned)
        return cls(host.copy_(dense, non_blocking=is_pinned), order, tensor.device)

    def back(self) -> torch.Tensor:
        """The tensor on its device again."""
        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        return self.numbers.to(self.device, non_blocking=True).permute(inverse)


@contextmanager
def saved_on_host(model: nn.Module) -> Iterator[None]:
    """What autograd saves within waits on the host, but for the model's own tensors and small ones.

    Checkpointed layers save their inputs alone, and those are moved.
    """
    import torch
    from torch.autograd.graph import saved_tensors_hooks

    own = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}

    def pack(tensor: torch.Tensor) -> torch.Tensor | OnHost:
        is_small = tensor.numel() * tensor.element_size() < LEAST_BYTES
        if is_small or tensor.layout != torch.strided or _storage(tensor) in own:
            return tensor
        return OnHost.copied(tensor.detach())

    def unpack(saved: torch.Tensor | OnHost) -> torch.Tensor:
        return saved.back() if isinstance(saved, OnHost) else saved

    with saved_tensors_hooks(pack, unpack):
        yield


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
