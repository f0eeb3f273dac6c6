"""The weights of each layer of a streamed base as bytes in one piece of memory.

A source knows where a layer's weights lie in the files, how many bytes they take in memory, and
which parameters they belong to. Knows no order, no thread and no forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lora_engine.base_models.stored_tensors import StoredTensor, read_into
from lora_engine.base_models.streamed import placeholder

if TYPE_CHECKING:
    import torch
    from torch import nn

ALIGNMENT = 64  # bytes, so that every weight lies as torch's own memory does


class LayerSource(Protocol):
    """Where the weights of the layers come from. Layers are numbers from 0."""

    @property
    def layers(self) -> int:
        """How many there are."""

    def size(self, number: int) -> int:
        """The bytes of memory that a layer's weights take."""

    def read(self, number: int, memory: torch.Tensor) -> int:
        """Fill host memory, (bytes,) of uint8, with a layer. Returns the bytes read from disk."""

    def place(self, number: int, memory: torch.Tensor) -> None:
        """Let the layer's parameters be what was read, in memory of the model's device."""

    def take_out(self, number: int) -> None:
        """Let the layer's parameters be placeholders again."""


@dataclass(frozen=True)
class Piece:
    """One weight: its parameter, where it is stored, and its place in a layer's memory."""

    parameter: nn.Parameter
    stored: StoredTensor
    start: int

    @property
    def end(self) -> int:
        return self.start + self.parameter.numel() * self.parameter.element_size()


class StoredLayers:
    """Layers as the model's own files hold them, each weight in its parameter's type.

    dtype: in which the base would be loaded; numbers are rounded to it first. A LayerSource.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        stored: Sequence[Mapping[str, StoredTensor]],
        dtype: torch.dtype,
    ) -> None:
        self._dtype = dtype
        self._pieces = [
            pieces_of([(layer.get_parameter(name), where) for name, where in of_layer.items()])
            for layer, of_layer in zip(layers, stored, strict=True)
        ]

    @property
    def layers(self) -> int:
        return len(self._pieces)

    def size(self, number: int) -> int:
        return max((aligned(piece.end) for piece in self._pieces[number]), default=0)

    def read(self, number: int, memory: torch.Tensor) -> int:
        for piece in self._pieces[number]:
            read_into(piece.stored, view_of(memory, piece), self._dtype)
        return sum(p.stored.entry.end - p.stored.entry.start for p in self._pieces[number])

    def place(self, number: int, memory: torch.Tensor) -> None:
        for piece in self._pieces[number]:
            piece.parameter.data = view_of(memory, piece)

    def take_out(self, number: int) -> None:
        for piece in self._pieces[number]:
            take_out(piece.parameter)


def pieces_of(weights: Sequence[tuple[nn.Parameter, StoredTensor]], start: int = 0) -> list[Piece]:
    """The weights one behind the other."""
    found = []
    for parameter, stored in weights:
        piece = Piece(parameter, stored, start)
        found.append(piece)
        start = aligned(piece.end)
    return found


def view_of(memory: torch.Tensor, piece: Piece) -> torch.Tensor:
    """A weight's part of a layer's memory, in the parameter's type and shape."""
    parameter = piece.parameter
    return memory[piece.start : piece.end].view(parameter.dtype).view(parameter.shape)


def take_out(parameter: nn.Parameter) -> None:
    shape, device = tuple(parameter.shape), parameter.device.type
    parameter.data = placeholder(shape, parameter.dtype, device)


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
