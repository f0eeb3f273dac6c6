"""Numbers that stay in their file: row-major blocks read and widened when asked for.

Reading is by plain reads, not by memory mapping: a file that becomes shorter meanwhile is an
error for the person and not a crash of the server.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.weights.matrix import as_real, check_finite

Widening = Literal["none", "bfloat16", "float8_e4m3", "float8_e5m2"]


@dataclass(frozen=True)
class NumberFormat:
    """How one number lies in the file and what it is called."""

    name: str
    storage: np.dtype
    widening: Widening = "none"

    def widen(self, raw: np.ndarray) -> np.ndarray:
        """Stored numbers to float32 or float64, exactly."""
        if self.widening == "bfloat16":
            return (raw.astype(np.uint32) << 16).view(np.float32)
        if self.widening == "float8_e4m3":
            return FLOAT8_E4M3[raw]
        if self.widening == "float8_e5m2":
            return FLOAT8_E5M2[raw]
        return raw


def float8_table(exponent_bits: int, mantissa_bits: int, bias: int) -> np.ndarray:
    """All 256 values of an 8-bit float, (256,) float32, before its NaN codes are set."""
    codes = np.arange(256)
    sign = np.where(codes & 0x80, -1.0, 1.0)
    exponent = (codes >> mantissa_bits) & (2**exponent_bits - 1)
    fraction = (codes & (2**mantissa_bits - 1)) / 2**mantissa_bits
    normal = (1 + fraction) * 2.0 ** (exponent - bias)
    return (sign * np.where(exponent == 0, fraction * 2.0 ** (1 - bias), normal)).astype(np.float32)


def _e4m3() -> np.ndarray:
    table = float8_table(4, 3, 7)
    table[[0x7F, 0xFF]] = np.nan  # the "fn" form: no infinities, one NaN of each sign
    return table


def _e5m2() -> np.ndarray:
    table = float8_table(5, 2, 15)
    table[[0x7C, 0xFC]] = [np.inf, -np.inf]
    table[[0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF]] = np.nan
    return table


FLOAT8_E4M3 = _e4m3()
FLOAT8_E5M2 = _e5m2()


def read_exactly(path: Path, offset: int, size: int) -> bytes:
    """`size` bytes at `offset`, or an EngineError when the file has become shorter."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) != size:
        raise shorter(path, offset + size)
    return data


def shorter(path: Path, needed: int) -> EngineError:
    return EngineError(
        tr(
            "{name} became shorter while it was read: {needed} bytes are needed.",
            name=path.name,
            needed=f"{needed:,}",
        ),
        tr("Wait until the file is complete, then try again."),
    )


@dataclass(frozen=True)
class StoredMatrix:
    """A row-major matrix at `offset` of a file, given out in widened, finite blocks."""

    path: Path
    offset: int
    number: NumberFormat
    shape: tuple[int, int]
    name: str
    notes: tuple[str, ...] = field(default=())

    @property
    def dtype(self) -> str:
        return self.number.name

    def rows(self, start: int, stop: int) -> np.ndarray:
        width = self.shape[1]
        size = self.number.storage.itemsize
        data = read_exactly(
            self.path, self.offset + start * width * size, (stop - start) * width * size
        )
        raw = np.frombuffer(data, self.number.storage).reshape(stop - start, width)
        return self._checked(raw, (start, 0))

    def columns(self, start: int, stop: int) -> np.ndarray:
        height, width = self.shape
        if (start, stop) == (0, width):
            return self.rows(0, height)
        size = self.number.storage.itemsize
        piece = (stop - start) * size
        raw = np.empty((height, stop - start), self.number.storage)
        lines = raw.view(np.uint8).reshape(height, piece)
        file = os.open(self.path, os.O_RDONLY)
        try:
            for row in range(height):
                place = self.offset + (row * width + start) * size
                if os.preadv(file, [lines[row]], place) != piece:
                    raise shorter(self.path, place + piece)
        finally:
            os.close(file)
        return self._checked(raw, (0, start))

    def _checked(self, raw: np.ndarray, first: tuple[int, int]) -> np.ndarray:
        values = self.number.widen(raw)
        if values.dtype.kind in "iu":
            return as_real(self.name, values)
        wide = np.float64 if values.dtype.itemsize == 8 else np.float32
        values = values.astype(wide, copy=False)
        check_finite(self.name, values, first)
        return values
