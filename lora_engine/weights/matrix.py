"""A matrix from anywhere, given out in blocks: shape first, then rows or columns when asked.

`MatrixSource` is what the spectrum reads; an array in memory and a tensor that stays in its
file look alike. Every block has been checked: real, finite, at most as large as the limits.
This module knows nothing of file formats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.weights import limits

EXACT_INTEGER = 2**53


class MatrixSource(Protocol):
    """A real matrix of `shape` (rows, columns); blocks come as float32 or float64 arrays."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def dtype(self) -> str: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows start..stop, shape (stop - start, columns)."""

    def columns(self, start: int, stop: int) -> np.ndarray:
        """Columns start..stop, shape (rows, stop - start)."""


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file, without its numbers."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Flatten:
    """How a tensor of three or more dimensions is laid out as a matrix.

    first: the first dimension against all the others, (d0, d1 d2 ...): a convolution's filters.
    last:  all but the last against the last, (d0 d1 ..., dn).
    slice: the last two dimensions at `index` of the leading ones: one expert, one head.
    """

    how: Literal["first", "last", "slice"]
    index: tuple[int, ...] = ()

    def __str__(self) -> str:
        return ",".join(map(str, self.index)) if self.how == "slice" else self.how

    @staticmethod
    def parse(text: str) -> Flatten:
        """Read `first`, `last`, or the index of a slice such as `3` or `0,2`."""
        if text == "first":
            return Flatten("first")
        if text == "last":
            return Flatten("last")
        parts = text.split(",")
        if all(part.strip().isdecimal() and len(part) < 10 for part in parts):
            return Flatten("slice", tuple(int(part) for part in parts))
        raise EngineError(
            tr(
                "The way to flatten is {text}; allowed are first, last, or a slice as in 3.",
                text=f"{text[:40]!r}",
            ),
            tr("Choose one of these."),
        )


def flattenings(shape: Sequence[int]) -> tuple[str, ...]:
    """The ways a tensor of this shape becomes a matrix, in words, for a menu or an error."""
    if len(shape) < 3:
        return ()
    lead = " x ".join(str(size) for size in shape[:-2])
    return (
        f"first ({shape[0]} x {math.prod(shape[1:])})",
        f"last ({math.prod(shape[:-1])} x {shape[-1]})",
        f"an index into {lead} ({shape[-2]} x {shape[-1]} each)",
    )


def layout(
    name: str, shape: Sequence[int], flatten: Flatten | None
) -> tuple[tuple[int, int], int, tuple[str, ...]]:
    """Where a matrix lies inside a row-major tensor: (rows, columns), first element, notes.

    Raises EngineError for a vector, an empty tensor, a tensor that needs a `flatten`, an index
    outside it, and a side or size beyond the limits.
    """
    shape = tuple(shape)
    text = describe_shape(shape)
    if len(shape) < 2:
        kind = tr("a vector of {count} numbers", count=shape[0]) if shape else tr("a single number")
        raise EngineError(
            tr("{name} is {kind}; a matrix with rows and columns is needed.", name=name, kind=kind),
            tr("Choose a tensor with two dimensions, or save the numbers as an m x n matrix."),
        )
    if math.prod(shape) == 0:
        raise EngineError(
            tr("{name} is empty ({text}).", name=name, text=text),
            tr("Choose a matrix with at least 1 x 1."),
        )
    if len(shape) > limits.MAX_DIMENSIONS:
        raise EngineError(
            tr(
                "{name} has {count} dimensions; at most {max_dimensions} are allowed.",
                name=name,
                count=len(shape),
                max_dimensions=limits.MAX_DIMENSIONS,
            ),
            tr("Choose a smaller tensor."),
        )
    if len(shape) == 2:
        return check_size(name, shape), 0, ()
    if flatten is None:
        raise EngineError(
            tr(
                "{name} has {count} dimensions ({text}); a matrix has two.",
                name=name,
                count=len(shape),
                text=text,
            ),
            tr("Choose how to flatten it: {ways}.", ways="; ".join(flattenings(shape))),
        )
    note = (tr("A tensor of {shape}, flattened: {how}.", shape=text, how=flatten),)
    if flatten.how == "first":
        return check_size(name, (shape[0], math.prod(shape[1:]))), 0, note
    if flatten.how == "last":
        return check_size(name, (math.prod(shape[:-1]), shape[-1])), 0, note
    lead = shape[:-2]
    if len(flatten.index) != len(lead) or any(
        i >= size for i, size in zip(flatten.index, lead, strict=True)
    ):
        raise EngineError(
            tr(
                "The slice {flatten} does not lie in {name}, whose leading dimensions are {shape}.",
                flatten=flatten,
                name=name,
                shape=describe_shape(lead),
            ),
            tr("Count from 0 and give one number for each leading dimension."),
        )
    place = 0
    for i, size in zip(flatten.index, lead, strict=True):
        place = place * size + i
    return check_size(name, shape[-2:]), place * shape[-2] * shape[-1], note


def describe_shape(shape: Sequence[int]) -> str:
    return " x ".join(f"{size:,}" for size in shape) if shape else "no dimensions"


def check_size(name: str, shape: Sequence[int]) -> tuple[int, int]:
    """Refuse sides and sizes beyond the limits; give the shape back as a pair."""
    rows, columns = shape
    if max(rows, columns) > limits.MAX_SIDE:
        raise EngineError(
            tr(
                "{name} is {shape}; at most {max_side} rows and as many columns are allowed.",
                name=name,
                shape=describe_shape(shape),
                max_side=f"{limits.MAX_SIDE:,}",
            ),
            tr("Choose a smaller matrix or a part of this one."),
        )
    if rows * columns > limits.MAX_STREAMED_ELEMENTS:
        raise EngineError(
            tr(
                "{name} holds {rows} numbers; at most {max_streamed_elements} are allowed.",
                name=name,
                rows=f"{rows * columns:,}",
                max_streamed_elements=f"{limits.MAX_STREAMED_ELEMENTS:,}",
            ),
            tr("Choose a smaller matrix or a part of this one."),
        )
    return int(rows), int(columns)


def check_memory(name: str, elements: int) -> None:
    """Refuse a tensor that would have to be held whole and is too large for it."""
    if elements > limits.MAX_MEMORY_ELEMENTS:
        raise EngineError(
            tr(
                "{name} holds {elements} numbers; at most {max_memory_elements} are allowed "
                "where they must be held in memory at once.",
                name=name,
                elements=f"{elements:,}",
                max_memory_elements=f"{limits.MAX_MEMORY_ELEMENTS:,}",
            ),
            tr(
                "Choose a smaller one, or save it as safetensors or .npy, which are read in blocks."
            ),
        )


def check_number_kind(name: str, dtype: np.dtype) -> None:
    """Allow real floating-point numbers and integers; say what anything else is."""
    kinds = {
        "b": "booleans", "c": "complex numbers", "O": "Python objects", "V": "records",
        "U": "text", "S": "text", "M": "dates", "m": "times",
    }  # fmt: skip
    if dtype.kind in "fiu" and dtype.itemsize <= 8:
        return
    found = kinds.get(dtype.kind, "values")
    raise EngineError(
        tr(
            "{name} holds {found} ({dtype}); real numbers are needed (float16, float32, "
            "float64 or integers).",
            name=name,
            found=found,
            dtype=dtype,
        ),
        tr("Convert it first, for instance with matrix.astype('float32')."),
    )


def as_real(name: str, values: np.ndarray) -> np.ndarray:
    """Widen to float32 (from float16) or float64 (from integers), native byte order, finite.

    Raises EngineError naming the first value that is NaN or infinite, or an integer that a
    float64 cannot hold exactly.
    """
    check_number_kind(name, values.dtype)
    if values.dtype.kind in "iu":
        extreme = max(int(values.max()), -int(values.min())) if values.size else 0
        if extreme > EXACT_INTEGER:
            raise EngineError(
                tr(
                    "{name} holds the integer {extreme}, beyond 2^53; a float64 cannot hold it.",
                    name=name,
                    extreme=extreme,
                ),
                tr("Scale the matrix down first."),
            )
        return values.astype(np.float64)
    wide = np.float64 if values.dtype.itemsize == 8 else np.float32
    values = values.astype(wide, copy=False)
    check_finite(name, values)
    return values


def check_finite(name: str, values: np.ndarray, first: tuple[int, int] = (0, 0)) -> None:
    """Raise EngineError at the first NaN or infinity; `first` is the block's place."""
    if np.isfinite(values).all():
        return
    place = np.argwhere(~np.isfinite(values))[0]
    value = values[tuple(place)]
    if values.ndim == 2:
        where = f"row {first[0] + place[0] + 1}, column {first[1] + place[1] + 1}"
    else:
        where = f"place {tuple(int(i) for i in place)}"
    raise EngineError(
        tr(
            "{name} holds {value} at {where}; only finite numbers are allowed.",
            name=name,
            value=value,
            where=where,
        ),
        tr("Replace or remove such values first."),
    )


@dataclass(frozen=True, eq=False)
class ArrayMatrix:
    """A matrix held in memory, (rows, columns), float32 or float64, finite."""

    values: np.ndarray
    name: str = "matrix"
    dtype: str = "float64"
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self.values[start:stop]

    def columns(self, start: int, stop: int) -> np.ndarray:
        return self.values[:, start:stop]


def array_matrix(
    values: np.ndarray, name: str, flatten: Flatten | None = None, notes: tuple[str, ...] = ()
) -> ArrayMatrix:
    """Check an array of any dtype and shape and make it a matrix."""
    check_number_kind(name, values.dtype)
    shape, first, more = layout(name, values.shape, flatten)
    check_memory(name, shape[0] * shape[1])
    flat = np.ascontiguousarray(values).reshape(-1)[first : first + shape[0] * shape[1]]
    if values.dtype.kind in "iu":
        more = (*more, tr("{dtype} numbers, converted to float64.", dtype=values.dtype))
    return ArrayMatrix(as_real(name, flat.reshape(shape)), name, str(values.dtype), (*notes, *more))


@dataclass(frozen=True)
class Transposed:
    """The transpose of another source."""

    source: MatrixSource

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def shape(self) -> tuple[int, int]:
        return self.source.shape[1], self.source.shape[0]

    @property
    def dtype(self) -> str:
        return self.source.dtype

    @property
    def notes(self) -> tuple[str, ...]:
        return self.source.notes

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self.source.columns(start, stop).T

    def columns(self, start: int, stop: int) -> np.ndarray:
        return self.source.rows(start, stop).T


def to_array(source: MatrixSource) -> np.ndarray:
    """The whole matrix in memory, (rows, columns), float32 or float64."""
    rows, columns = source.shape
    check_memory(source.name, rows * columns)
    return source.rows(0, rows)
