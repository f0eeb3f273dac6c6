"""The weights of a base model as they lie in its files, widened a block of rows at a time.

A tensor of any shape is looked at as a matrix: (rows, columns), all dimensions but the last
together as rows, a vector as one row. Quantized ones (bitsandbytes in 4 or 8 bits, FP8 with a
scale a block) are dequantized on the way; what only helps to read them is no tensor of its own.
Knows nothing of adapters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lora_engine.base_models.weight_files import weight_files
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.weights import nf4
from lora_engine.weights.matrix import MatrixSource
from lora_engine.weights.packed_tensors import packing_method
from lora_engine.weights.safetensors_file import (
    SafetensorsFile,
    number_format,
    read_tensor,
)
from lora_engine.weights.stored_matrix import StoredMatrix, read_exactly

FLOATS = ("F64", "F32", "F16", "BF16")
BESIDE = (*nf4.PART_SUFFIXES, ".SCB", ".weight_format")  # beside a weight of bitsandbytes
SCALES = ("_scale_inv",)  # beside a weight of FP8
CHUNK = 1 << 24


@dataclass(frozen=True)
class BaseTensor:
    """One tensor: its true shape, and its type as stored, None where it is quantized."""

    name: str
    shape: tuple[int, ...]
    dtype: str | None

    @property
    def is_number(self) -> bool:
        """Whether it holds weights; whole numbers and truth values are copied as they are."""
        return self.dtype is None or self.dtype in FLOATS


class StoredWeights:
    """The tensors of a model folder by name, in the files' order."""

    def __init__(self, folder: Path) -> None:
        files = {name: file for file in weight_files(folder) for name in file.tensors}
        self._files: Mapping[str, SafetensorsFile] = files
        self._entries = {name: file.tensors[name] for name, file in files.items()}
        found = (self._tensor(name) for name in files if not self._only_helps(name))
        self.tensors: Mapping[str, BaseTensor] = {tensor.name: tensor for tensor in found}

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def matrix(self, name: str) -> MatrixSource:
        """A tensor's numbers as (rows, columns). Raises EngineError for what is no number."""
        tensor, file = self.tensors[name], self._files[name]
        entry = file.entry(name)
        if tensor.dtype is None and entry.dtype == "U8":
            return nf4.packed_matrix(file, name)
        rows = stored_rows(file, name)
        if tensor.dtype is not None:
            return rows
        if entry.dtype == "I8":
            scales = read_tensor(self._files[_int8_scale(name)], _int8_scale(name)).reshape(-1, 1)
            return ScaledRows(rows, scales / 127.0)
        scales = read_tensor(self._files[f"{name}_scale_inv"], f"{name}_scale_inv")
        return ScaledRows(rows, scales.reshape(-1, scales.shape[-1] if scales.ndim else 1))

    def is_as_stored(self, name: str) -> bool:
        """Whether `matrix` gives the numbers that lie in the file."""
        return self.tensors[name].dtype is not None

    def stored_bytes(self, name: str) -> int:
        entry = self._entries[name]
        return entry.end - entry.start

    def raw_blocks(self, name: str) -> Iterator[bytes]:
        """A tensor's bytes as they lie in the file."""
        entry = self._files[name].entry(name)
        for start in range(entry.start, entry.end, CHUNK):
            yield read_exactly(self._files[name].path, start, min(CHUNK, entry.end - start))

    def _tensor(self, name: str) -> BaseTensor:
        entry, method = self._entries[name], packing_method(self._entries, name)
        if method is None:
            return BaseTensor(name, entry.shape, entry.dtype)
        if method == "bitsandbytes" and entry.dtype == "U8":
            return BaseTensor(name, tuple(nf4.read_state(self._files[name], name).shape), None)
        if method in ("bitsandbytes", "fp8"):
            return BaseTensor(name, entry.shape, None)
        raise EngineError(
            tr(
                "{name} is quantized ({method}); weights of bitsandbytes and FP8 with block "
                "scales can be dequantized here.",
                name=name,
                method=method,
            ),
            tr("Use the 16-bit checkpoint of this model."),
        )

    def _only_helps(self, name: str) -> bool:
        """Whether a tensor is a scale, a table or a description of a quantized weight."""
        for suffix in BESIDE:
            stem = name.removesuffix(suffix)
            if stem != name and (stem in self._files or f"{stem}.weight" in self._files):
                weight = stem if stem in self._files else f"{stem}.weight"
                return packing_method(self._entries, weight) == "bitsandbytes"
        return any(
            name.endswith(suffix) and name.removesuffix(suffix) in self._files for suffix in SCALES
        )


@dataclass(frozen=True, eq=False)
class ScaledRows:
    """Codes times scales: one scale for each block of equal size. A matrix source.

    scales (p, q): the matrix has p blocks of rows and q of columns.
    """

    codes: StoredMatrix
    scales: np.ndarray
    dtype: str = "float32"
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.codes.name

    @property
    def shape(self) -> tuple[int, int]:
        return self.codes.shape

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self.codes.rows(start, stop) * self._scales(range(start, stop), None)

    def columns(self, start: int, stop: int) -> np.ndarray:
        return self.codes.columns(start, stop) * self._scales(None, range(start, stop))

    def _scales(self, rows: range | None, columns: range | None) -> np.ndarray:
        """The scale of each number in these rows, or columns."""
        found = []
        for side, count, chosen in zip(self.shape, self.scales.shape, (rows, columns), strict=True):
            size = math.ceil(side / count)
            found.append(np.asarray(chosen if chosen is not None else range(side)) // size)
        return self.scales[found[0][:, None], found[1][None, :]]


def matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    """(rows, columns) of a tensor: all dimensions but the last together, and the last."""
    return (math.prod(shape[:-1]), shape[-1]) if shape else (1, 1)


def stored_rows(file: SafetensorsFile, name: str) -> StoredMatrix:
    """A tensor of any shape as a matrix that stays in its file."""
    entry = file.entry(name)
    shape = matrix_shape(entry.shape)
    return StoredMatrix(file.path, entry.start, number_format(entry), shape, name)


def _int8_scale(name: str) -> str:
    return f"{name.removesuffix('weight')}SCB"
