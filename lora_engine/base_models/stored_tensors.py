"""Tensors of a model's files read into given memory, piece by piece, by plain reads.

Never by a map: a file that becomes shorter meanwhile is an error in words, and the pages that were
read count for nobody. Knows no model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.weights.safetensors_file import SafetensorsFile, TensorEntry
from lora_engine.weights.stored_matrix import shorter

if TYPE_CHECKING:
    import torch

PIECE_BYTES = 8 << 20  # of stored numbers that are converted at a time


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies."""

    path: Path
    entry: TensorEntry

    @property
    def shape(self) -> tuple[int, ...]:
        return self.entry.shape

    @property
    def is_number(self) -> bool:
        """Whether it holds floats that can be read into memory here."""
        return self.entry.dtype in ("F64", "F32", "F16", "BF16")

    @property
    def dtype(self) -> torch.dtype:
        import torch

        names = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
        return getattr(torch, names[self.entry.dtype])


def tensors_in(files: Sequence[SafetensorsFile]) -> Mapping[str, StoredTensor]:
    """Every tensor of the files by its name."""
    return {
        name: StoredTensor(file.path, entry)
        for file in files
        for name, entry in file.tensors.items()
    }


def read_into(stored: StoredTensor, target: torch.Tensor, dtype: torch.dtype) -> None:
    """Fill `target`, contiguous and on the host, with the numbers rounded to `dtype` on the way.

    Raises EngineError where the file has become shorter.
    """
    import torch

    flat, entry = target.detach().view(-1), stored.entry
    with stored.path.open("rb", buffering=0) as file:
        if stored.dtype == dtype == target.dtype:
            read_exactly_into(file.fileno(), stored.path, entry.start, bytes_of(flat))
            return
        each = stored.dtype.itemsize
        buffer = memoryview(bytearray(min(PIECE_BYTES, max(1, entry.end - entry.start))))
        for start in range(0, entry.end - entry.start, len(buffer)):
            piece = buffer[: min(len(buffer), entry.end - entry.start - start)]
            read_exactly_into(file.fileno(), stored.path, entry.start + start, piece)
            numbers = torch.frombuffer(piece, dtype=stored.dtype)
            flat[start // each : start // each + len(numbers)].copy_(numbers.to(dtype))


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """The memory of a contiguous tensor on the host, to be written."""
    import torch

    return tensor.view(torch.uint8).numpy().data


def read_exactly_into(descriptor: int, path: Path, offset: int, target: memoryview) -> None:
    """Fill `target` from `offset` on. Raises EngineError where the file ends before."""
    done = 0
    while done < len(target):
        count = os.preadv(descriptor, [target[done:]], offset + done)
        if count == 0:
            raise shorter(path, offset + len(target))
        done += count
