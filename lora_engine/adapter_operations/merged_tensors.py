"""What each tensor of a merged model is: the base's own, or changed by an adapter.

    plain      W + s B A                                    (out, in); Conv1D, embedding: transposed
    DoRA       (m / ||W + s B A||_row) * (W + s B A)        arXiv 2402.09353, eq. 5
    lora_bias  bias + s b
    whole      modules_to_save and trained biases take the place of the base's

in float64 from the factors as stored, rounded once, block by block of rows. Knows nothing of files
but how to read their blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from lora_engine.adapter_operations.sharded_weights import ITEM_BYTES
from lora_engine.adapter_operations.stored_weights import StoredWeights, matrix_shape
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum import AdapterModule
from lora_engine.spectrum.delta_on_base import dora_delta
from lora_engine.spectrum.dense import blocks
from lora_engine.weights.matrix import MatrixSource, Transposed

BITS_OF = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


class Change(Protocol):
    """What an adapter does to a tensor, as (rows, columns)."""

    def applied(self, weight: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Rows start..stop of the changed tensor, from these rows of the base's, in float64."""


@dataclass(frozen=True, eq=False)
class AddedProduct:
    """+ left @ right. left (rows, r), right (r, columns), as the tensor is stored."""

    left: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, module: AdapterModule, transposed: bool) -> AddedProduct:
        """The update of a module whose weight is stored (in, out) where `transposed`."""
        left, right = module.factors.left, module.lora_A.astype(np.float64)
        return cls(right.T, left.T) if transposed else cls(left, right)

    def applied(self, weight: np.ndarray, start: int, stop: int) -> np.ndarray:
        return weight + self.left[start:stop] @ self.right


@dataclass(frozen=True, eq=False)
class Dora:
    """DoRA's true update, its row norms taken over the base weight that is merged into."""

    module: AdapterModule
    base: MatrixSource
    transposed: bool

    @cached_property
    def _gain(self) -> np.ndarray:
        oriented = Transposed(self.base) if self.transposed else self.base
        return dora_delta(self.module, oriented).gain

    @cached_property
    def _added(self) -> AddedProduct:
        return AddedProduct.of(self.module, self.transposed)

    def applied(self, weight: np.ndarray, start: int, stop: int) -> np.ndarray:
        gain = self._gain[None, :] if self.transposed else self._gain[start:stop, None]
        return gain * self._added.applied(weight, start, stop)


@dataclass(frozen=True, eq=False)
class AddedVector:
    """+ values, of a tensor of one row."""

    values: np.ndarray

    def applied(self, weight: np.ndarray, start: int, stop: int) -> np.ndarray:
        return weight + self.values[None, :]


@dataclass(frozen=True, eq=False)
class Replaced:
    """The adapter's own tensor in the place of the base's."""

    source: MatrixSource

    def applied(self, weight: np.ndarray, start: int, stop: int) -> np.ndarray:
        return self.source.rows(start, stop).astype(np.float64)


class Pieces(Protocol):
    """Numbers of tensors that the model keeps fused, by the names of the files' tensors."""

    def rows(self, stored: str) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class AddedPiece:
    """+ a piece of an update of fused experts."""

    pieces: Pieces
    stored: str

    def applied(self, weight: np.ndarray, start: int, stop: int) -> np.ndarray:
        return weight + self.pieces.rows(self.stored)[start:stop]


@dataclass(frozen=True, eq=False)
class ReplacedPiece:
    """A piece of fused experts that were saved whole."""

    pieces: Pieces
    stored: str

    def applied(self, weight: np.ndarray, start: int, stop: int) -> np.ndarray:
        return self.pieces.rows(self.stored)[start:stop].astype(np.float64)


@dataclass(frozen=True, eq=False)
class MergedTensor:
    """One tensor of the merged model: a TensorToWrite.

    source: the tensor of the base's files that it is made from. dtype: the code it is written in.
    """

    name: str
    source: str
    weights: StoredWeights
    dtype: str
    changes: tuple[Change, ...] = field(default=())

    @property
    def shape(self) -> tuple[int, ...]:
        return self.weights.tensors[self.source].shape

    @property
    def size_bytes(self) -> int:
        if self._is_copy:
            return self.weights.stored_bytes(self.source)
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]

    @property
    def _is_copy(self) -> bool:
        stored = self.weights.tensors[self.source]
        as_stored = self.weights.is_as_stored(self.source) and stored.dtype == self.dtype
        return as_stored and not self.changes

    def blocks(self) -> Iterator[bytes]:
        """The bytes in order. Raises EngineError where a number does not fit the type."""
        if self._is_copy:
            yield from self.weights.raw_blocks(self.source)
            return
        base = self.weights.matrix(self.source)
        for start, stop in blocks(*matrix_shape(self.shape)):
            values = base.rows(start, stop).astype(np.float64)
            for change in self.changes:
                values = change.applied(values, start, stop)
            yield _rounded(self.name, values, self.dtype)


def _rounded(name: str, values: np.ndarray, dtype: str) -> bytes:
    """The bytes of numbers rounded to the nearest of a type, ties to even."""
    import torch

    types = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
    narrow = torch.from_numpy(values).to(torch.float32).to(types[dtype])
    if not bool(torch.isfinite(narrow).all()):
        largest = float(np.abs(values).max())
        raise EngineError(
            tr(
                "{name} would hold {largest}, which does not fit into {types}.",
                name=name,
                largest=f"{largest:.4g}",
                types=str(types[dtype])[6:],
            ),
            tr("Merge into bfloat16 or float32."),
        )
    return narrow.contiguous().view(torch.uint8).numpy().tobytes()


def written_dtype(stored: str | None, asked: str | None, default: str) -> str:
    """The code that a tensor of numbers is written in.

    stored: as it lies in the file, None where it is quantized. asked: the code for all; None keeps
    16 and 32 bits as they are stored, and takes `default` for quantized weights.
    """
    if asked is not None:
        return asked
    if stored is None:
        return default
    return stored if stored in BITS_OF.values() else "F32"


def check_shapes_fit(name: str, ours: Sequence[int], theirs: Sequence[int]) -> None:
    """Raises EngineError where a change has another shape than the tensor that it changes."""
    if tuple(ours) != tuple(theirs):
        raise EngineError(
            tr(
                "The adapter changes {name} of the shape {ours}; in the base model it has "
                "{theirs}.",
                name=name,
                ours=list(ours),
                theirs=list(theirs),
            ),
            tr("Choose the base model that this adapter was trained on."),
        )
