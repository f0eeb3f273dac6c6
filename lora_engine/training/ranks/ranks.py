"""What the processes of one run say to each other: sums, and the first one's word.

torch's DistributedDataParallel is not used. It overlaps the exchange of gradients with the backward
pass, which pays where gradients are large. LoRA's are small: of a 7B model at rank 16 they are
160 MB beside 14 GB of weights. One plain sum after the last pass of a step needs no hooks in the
model, so the fused layers and gradient accumulation stay as they are, and it is exact.

Knows no model, no row and no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
BUCKET_NUMBERS = 16 << 20  # of gradients that are summed in one message: 64 MB in float32


class GroupBroken(Exception):
    """Another process of the run is gone, so nothing more can be said."""


@dataclass(frozen=True)
class Ranks:
    """One process among `count`; the first has the rank 0. Alone, every method is a no-op.

    device: of the messages, cpu or cuda. is_lockstep: a pass of one process needs all others, as
    where the base is divided. All processes must call the same methods in the same order.
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"
    is_lockstep: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and decides."""
        return self.rank == 0

    def agreed(self, word: bool) -> bool:
        """The first process's word."""
        return word if self.count == 1 else bool(self._rows([float(word)])[0][0])

    def total(self, value: float) -> float:
        """The sum of all processes' values, equal on all to the last bit."""
        return self.totals([value])[0]

    def totals(self, values: Sequence[float]) -> list[float]:
        """As `total`, for several values at once."""
        if self.count == 1:
            return list(values)
        return [sum(column) for column in zip(*self._rows(values), strict=True)]

    def gathered(self, items: Sequence[T]) -> list[T]:
        """The items of all processes, in the order of their ranks."""
        if self.count == 1:
            return list(items)
        import torch.distributed as dist

        found: list[list[T]] = [[] for _ in range(self.count)]
        with _speaking():
            dist.all_gather_object(found, list(items))
        return [item for some in found for item in some]

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Give every weight the sum of its gradients on all processes.

        A weight that no process has a gradient of stays without: its optimizer leaves it alone.
        """
        if self.count == 1:
            return
        import torch

        have = self.totals([float(one.grad is not None) for one in parameters])
        for parameter, count in zip(parameters, have, strict=True):
            if count and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [one.grad for one in parameters if one.grad is not None]
        for bucket in _buckets(gradients):
            self._sum_in_place(bucket)

    def copy_from_first(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite the tensors with those of the first process."""
        if self.count == 1:
            return
        import torch.distributed as dist

        with _speaking():
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    def _rows(self, values: Sequence[float]) -> list[list[float]]:
        """The values of every process, in the order of their ranks."""
        import torch
        import torch.distributed as dist

        ours = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        found = [torch.empty_like(ours) for _ in range(self.count)]
        with _speaking():
            dist.all_gather(found, ours)
            return [one.tolist() for one in found]

    def _sum_in_place(self, bucket: Sequence[torch.Tensor]) -> None:
        import torch
        import torch.distributed as dist

        flat = torch.cat([gradient.flatten() for gradient in bucket])
        with _speaking():
            dist.all_reduce(flat)
        for gradient, part in zip(bucket, flat.split([one.numel() for one in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))


ALONE = Ranks()


def _buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """The tensors in their order, in lists of one dtype and about BUCKET_NUMBERS numbers."""
    bucket: list[torch.Tensor] = []
    numbers = 0
    for tensor in tensors:
        if bucket and (numbers >= BUCKET_NUMBERS or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, numbers = [], 0
        bucket.append(tensor)
        numbers += tensor.numel()
    if bucket:
        yield bucket


@contextmanager
def _speaking() -> Iterator[None]:
    """Raises GroupBroken where the others cannot be reached: torch has no error of its own."""
    try:
        yield
    except RuntimeError as error:
        raise GroupBroken(str(error)) from error
