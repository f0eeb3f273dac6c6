"""Layers as 4-bit codes: quantized once, layer by layer, into a file without a name.

Read as codes, a layer is a quarter of its 16-bit bytes, in every step, and what the machine has of
free memory holds four times as many layers as the disk's cache. To quantize them anew in each pass
would cost more than to read them. The file lies in the run's folder and has no name there, so it
goes with the process, however that ends. The codes are those that bitsandbytes makes on loading.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_engine.base_models.stored_tensors import (
    StoredTensor,
    bytes_of,
    read_exactly_into,
    read_into,
)
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.training.streaming.layer_source import aligned, take_out

if TYPE_CHECKING:
    import torch
    from torch import nn

BYTES_A_WEIGHT = 0.57  # codes and constants, the larger of both kinds of constants
PIECE_WEIGHTS = 1 << 18  # that are quantized at a time; a multiple of every block size
CONSTANTS_A_BLOCK = 256  # that share a constant, where they are quantized too
GIB = 1 << 30


@dataclass(frozen=True)
class Part:
    """A tensor's place in a layer's memory."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    def of(self, memory: torch.Tensor) -> torch.Tensor:
        count = 1
        for size in self.shape:
            count *= size
        end = self.start + count * self.dtype.itemsize
        return memory[self.start : end].view(self.dtype).view(self.shape)


@dataclass(frozen=True)
class Codes:
    """A quantized weight: its parts, and the state that bitsandbytes made, for what is constant.

    offset, nested: where the constants are quantized too.
    """

    parameter: Any
    codes: Part
    absmax: Part
    state: Any
    offset: Part | None = None
    nested: Part | None = None

    def place(self, memory: torch.Tensor) -> None:
        from bitsandbytes.functional import QuantState

        made, device = self.state, memory.device
        state2, offset = None, None
        if self.nested is not None and self.offset is not None:
            offset = self.offset.of(memory).reshape(())
            state2 = QuantState(
                absmax=self.nested.of(memory),
                code=made.state2.code.to(device),
                blocksize=made.state2.blocksize,
                dtype=made.state2.dtype,
            )
        self.parameter.data = self.codes.of(memory)
        self.parameter.quant_state = QuantState(
            absmax=self.absmax.of(memory),
            shape=made.shape,
            code=made.code.to(device),
            blocksize=made.blocksize,
            quant_type=made.quant_type,
            dtype=made.dtype,
            offset=offset,
            state2=state2,
        )


@dataclass(frozen=True)
class Plain:
    """A weight of a layer that is not quantized."""

    parameter: nn.Parameter
    part: Part

    def place(self, memory: torch.Tensor) -> None:
        self.parameter.data = self.part.of(memory)


@dataclass(frozen=True)
class LayerOfCodes:
    """Where a layer begins in the file, its bytes, and its weights."""

    start: int
    size: int
    weights: Sequence[Codes | Plain]


class QuantizedLayers:
    """See the module's docstring. A LayerSource."""

    def __init__(
        self,
        layers: Sequence[nn.Module],
        stored: Sequence[Mapping[str, StoredTensor]],
        dtype: torch.dtype,
        folder: Path,
    ) -> None:
        """Raises EngineError where the disk of `folder` has no room for the codes."""
        self._path = folder
        _refuse_full(folder, stored)
        # Lives as long as this object: it has no name to be opened by again.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._layers: list[LayerOfCodes] = []
        start = 0
        for layer, of_layer in zip(layers, stored, strict=True):
            made = _Writer(self._file, start)
            weights = [made.add(layer, name, where, dtype) for name, where in of_layer.items()]
            self._layers.append(LayerOfCodes(start, made.place - start, weights))
            start = made.place

    @property
    def layers(self) -> int:
        return len(self._layers)

    def size(self, number: int) -> int:
        return self._layers[number].size

    def read(self, number: int, memory: torch.Tensor) -> int:
        layer = self._layers[number]
        target = bytes_of(memory[: layer.size])
        read_exactly_into(self._file.fileno(), self._path, layer.start, target)
        return layer.size

    def place(self, number: int, memory: torch.Tensor) -> None:
        for weight in self._layers[number].weights:
            weight.place(memory)

    def take_out(self, number: int) -> None:
        for weight in self._layers[number].weights:
            take_out(weight.parameter)
            if isinstance(weight, Codes):
                weight.parameter.quant_state = None


class _Writer:
    """Writes the parts of one layer, one behind the other."""

    def __init__(self, file: Any, start: int) -> None:
        self._file, self._start, self.place = file, start, start

    def add(
        self, layer: nn.Module, name: str, where: StoredTensor, dtype: torch.dtype
    ) -> Codes | Plain:
        import torch

        parameter = layer.get_parameter(name)
        numbers = torch.empty(where.shape, dtype=dtype)
        read_into(where, numbers, dtype)
        if parameter.is_floating_point():
            return Plain(parameter, self._write(numbers.to(parameter.dtype)))
        from transformers.pytorch_utils import Conv1D

        module = layer.get_submodule(name.rpartition(".")[0])
        source: type = getattr(module, "source_cls", object)
        codes, state = _quantized(numbers.T if issubclass(source, Conv1D) else numbers, parameter)
        of_codes, of_absmax = self._write(codes), self._write(state.absmax)
        state.absmax = None  # in the file from now on: of all layers together it is much
        if not state.nested:
            return Codes(parameter, of_codes, of_absmax, state)
        offset, nested = self._write(state.offset.reshape(1)), self._write(state.state2.absmax)
        state.offset = state.state2.absmax = None
        return Codes(parameter, of_codes, of_absmax, state, offset, nested)

    def _write(self, tensor: torch.Tensor) -> Part:
        part = Part(self.place - self._start, tensor.dtype, tuple(tensor.shape))
        data = bytes_of(tensor.contiguous().view(-1))
        missing = aligned(self.place + len(data)) - self.place - len(data)
        for some in (data, memoryview(bytes(missing))):
            for done in _written(self._file, some):
                self.place += done
        return part


def _written(file: Any, view: memoryview) -> Iterator[int]:
    while view:
        count = file.write(view)
        yield count
        view = view[count:]


def _quantized(numbers: torch.Tensor, parameter: Any) -> tuple[torch.Tensor, Any]:
    """As `Params4bit` quantizes a weight that comes to its device, but a piece at a time.

    On the host bitsandbytes makes four tensors of 32-bit numbers of what it is given. The blocks of
    weights that share a constant are independent of each other, so the codes are the same.
    """
    import torch
    from bitsandbytes.functional import QuantState, quantize_4bit, quantize_blockwise

    kind = {"blocksize": parameter.blocksize, "quant_type": parameter.quant_type}
    made = [
        quantize_4bit(piece, quant_storage=parameter.quant_storage, **kind)
        for piece in numbers.contiguous().view(-1).split(PIECE_WEIGHTS)
    ]
    absmax, offset, state2 = torch.cat([state.absmax for _, state in made]), None, None
    if parameter.compress_statistics:
        offset = absmax.mean()
        absmax, state2 = quantize_blockwise(absmax - offset, blocksize=CONSTANTS_A_BLOCK)
    state = QuantState(
        absmax=absmax,
        shape=numbers.shape,
        code=made[0][1].code,
        dtype=numbers.dtype,
        offset=offset,
        state2=state2,
        **kind,
    )
    return torch.cat([codes for codes, _ in made]), state


def _refuse_full(folder: Path, stored: Sequence[Mapping[str, StoredTensor]]) -> None:
    numbers = 0
    for layer in stored:
        for where in layer.values():
            numbers += (where.entry.end - where.entry.start) // where.dtype.itemsize
    needed, free = numbers * BYTES_A_WEIGHT, shutil.disk_usage(folder).free
    if needed > free:
        raise EngineError(
            tr(
                "The streamed base needs {needed} GiB of disk for its 4-bit codes, and {folder} "
                "has {free} GiB free.",
                needed=f"{needed / GIB:.1f}",
                folder=str(folder),
                free=f"{free / GIB:.1f}",
            ),
            tr("Free some disk space, or stream the base without quantization."),
        )
