"""4-bit weights of bitsandbytes checkpoints (NF4, FP4), widened one block at a time.

A weight `X` lies in the file as packed bytes beside `X.absmax`, `X.quant_map` and
`X.quant_state.bitsandbytes__nf4`, a JSON text; with double quantization also `X.nested_absmax`
and `X.nested_quant_map`. Value = code[4 bits] * absmax[place // blocksize], the high half of a
byte first; absmax itself = nested_code[byte] * nested_absmax[...] + offset
(bitsandbytes/functional.py, `QuantState` and `dequantize_4bit`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.weights.matrix import as_real, check_finite, check_size
from lora_engine.weights.safetensors_file import SafetensorsFile, parse_json, read_bytes

STATE_SUFFIXES = (".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4")
PART_SUFFIXES = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", *STATE_SUFFIXES)


class QuantState(BaseModel):
    """The JSON beside a packed weight, as bitsandbytes writes it."""

    model_config = ConfigDict(extra="ignore", strict=True)

    quant_type: str = Field(pattern="^(nf4|fp4)$")
    blocksize: int = Field(ge=2, le=65_536)
    shape: list[int] = Field(min_length=2, max_length=2)
    dtype: str = ""
    nested_blocksize: int = Field(256, ge=1, le=65_536)
    nested_offset: float = Field(0.0, allow_inf_nan=False)


@dataclass(frozen=True, eq=False)
class PackedMatrix:
    """A 4-bit matrix: its packed bytes in memory, its numbers widened block by block."""

    name: str
    shape: tuple[int, int]
    dtype: str
    packed: np.ndarray  # (rows * columns / 2,) uint8
    absmax: np.ndarray  # (blocks,) float32
    code: np.ndarray  # (16,) float32
    blocksize: int
    notes: tuple[str, ...] = ()

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self._widen(np.arange(start, stop), np.arange(self.shape[1]))

    def columns(self, start: int, stop: int) -> np.ndarray:
        return self._widen(np.arange(self.shape[0]), np.arange(start, stop))

    def _widen(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        place = rows[:, None] * self.shape[1] + columns[None, :]
        return self.code[self._codes(place)] * self.absmax[place // self.blocksize]

    def _codes(self, place: np.ndarray) -> np.ndarray:
        byte = self.packed[place >> 1]
        return np.where(place & 1, byte & 0x0F, byte >> 4)

    def noise_std(self) -> float:
        """The standard deviation that rounding to 4 bits left in this weight, estimated.

        A number rounded to a code value is spread evenly over that code's cell, so its error
        has variance (cell width)^2 / 12, times its block's absmax squared.
        """
        order = np.argsort(self.code)
        values = self.code[order].astype(np.float64)
        edges = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2, values[-1:]])
        variance = np.empty(16)
        variance[order] = np.diff(edges) ** 2 / 12
        total, step = 0.0, 2**22
        for start in range(0, math.prod(self.shape), step):
            place = np.arange(start, min(start + step, math.prod(self.shape)))
            scale = self.absmax[place // self.blocksize].astype(np.float64)
            total += float(variance[self._codes(place)] @ scale**2)
        return math.sqrt(total / math.prod(self.shape))


def state_name(file: SafetensorsFile, name: str) -> str | None:
    """The name of the 4-bit description beside the tensor `name`, if there is one."""
    return next((name + s for s in STATE_SUFFIXES if name + s in file.tensors), None)


def read_state(file: SafetensorsFile, name: str) -> QuantState:
    """Parse and check the JSON beside the packed tensor `name`."""
    state = state_name(file, name)
    if state is None:
        raise _bad(name, "its description is missing")
    if file.entry(state).dtype != "U8" or file.entry(state).end - file.entry(state).start > 65_536:
        raise _bad(name, "its description is not a short text")
    try:
        return QuantState.model_validate(parse_json(file.path, read_bytes(file, state).tobytes()))
    except ValidationError as error:
        first = error.errors()[0]
        raise _bad(name, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def packed_matrix(file: SafetensorsFile, name: str) -> PackedMatrix:
    """Open a 4-bit weight. Raises EngineError when its parts do not fit together."""
    state = read_state(file, name)
    if min(state.shape) < 1:
        raise _bad(name, f"its shape is {state.shape}")
    shape = check_size(name, state.shape)
    elements = math.prod(shape)
    packed = read_bytes(file, name).view(np.uint8)
    if packed.size != (elements + 1) // 2:
        raise _bad(
            name, f"{elements:,} numbers need {(elements + 1) // 2:,} bytes, not {packed.size:,}"
        )
    code = _part(file, name, ".quant_map", 16)
    blocks = math.ceil(elements / state.blocksize)
    absmax = _absmax(file, name, state, blocks)
    note = tr(
        "4-bit ({kind}, blocks of {size}), widened block by block.",
        kind=state.quant_type,
        size=state.blocksize,
    )
    return PackedMatrix(
        name, shape, state.quant_type, packed, absmax, code, state.blocksize, (note,)
    )


def _absmax(file: SafetensorsFile, name: str, state: QuantState, blocks: int) -> np.ndarray:
    """The scale of every block, (blocks,) float32, double quantization undone."""
    if name + ".nested_absmax" not in file.tensors:
        return _part(file, name, ".absmax", blocks)
    codes = read_bytes(file, name + ".absmax")
    if codes.dtype != np.uint8 or codes.size != blocks:
        raise _bad(name, f"it needs {blocks:,} bytes of absmax, not {codes.size:,}")
    nested = _part(file, name, ".nested_absmax", math.ceil(blocks / state.nested_blocksize))
    table = _part(file, name, ".nested_quant_map", 256)
    scale = nested[np.arange(blocks) // state.nested_blocksize]
    return (table[codes] * scale + np.float32(state.nested_offset)).astype(np.float32)


def _part(file: SafetensorsFile, name: str, suffix: str, size: int) -> np.ndarray:
    if name + suffix not in file.tensors or file.entry(name + suffix).dtype != "F32":
        raise _bad(name, f"{suffix} is missing or not float32")
    values = as_real(name + suffix, read_bytes(file, name + suffix))
    if values.size != size:
        raise _bad(name, f"{suffix} has {values.size:,} numbers, not {size:,}")
    check_finite(name + suffix, values)
    return values


def _bad(name: str, what: str) -> EngineError:
    return EngineError(
        tr("The 4-bit weight {name} cannot be read: {what}.", name=name, what=what),
        tr("Save the model again with bitsandbytes, or use the 16-bit checkpoint."),
    )
