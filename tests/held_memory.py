"""What torch really holds, tensor by tensor: exact, and owing nothing to an allocator."""

from __future__ import annotations

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Held(TorchDispatchMode):
    """Bytes of all live storages that operations under this mode made, and their peak."""

    def __init__(self):
        super().__init__()
        self.live, self.peak, self.known = 0, 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
                self.born(tensor.untyped_storage())
        return result

    def born(self, storage):
        key = storage._cdata
        if key in self.known or storage.nbytes() == 0:
            return
        size = storage.nbytes()
        self.known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self.died, key, size)

    def died(self, key, size):
        self.known.discard(key)
        self.live -= size
