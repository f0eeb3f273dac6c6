"""A safetensors file: its header scanned by ourselves, its tensors listed and read without torch.

The usual readers accept what we must not: a name twice, a million tensors, a header of any
size. `scan` reads the header only, so a file of 5 GB is listed in a millisecond; `read_tensor`
gives one tensor as float32 (float64 stays float64), `stored_matrix` a matrix that stays in the
file. Layout: 8 bytes little-endian header size, JSON header, then the tensors without gaps
(https://huggingface.co/docs/safetensors, "Format").
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from lora_engine.errors import EngineError
from lora_engine.foreign_files import conversion, json_complaint, name_binary, name_text
from lora_engine.language import tr, translatable
from lora_engine.weights import limits
from lora_engine.weights.matrix import (
    Flatten,
    as_real,
    check_memory,
    check_number_kind,
    layout,
)
from lora_engine.weights.stored_matrix import NumberFormat, StoredMatrix, read_exactly

_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
_FORMATS = {
    "F64": NumberFormat("float64", np.dtype("<f8")),
    "F32": NumberFormat("float32", np.dtype("<f4")),
    "F16": NumberFormat("float16", np.dtype("<f2")),
    "BF16": NumberFormat("bfloat16", np.dtype("<u2"), "bfloat16"),
    "F8_E4M3": NumberFormat("float8_e4m3", np.dtype("u1"), "float8_e4m3"),
    "F8_E5M2": NumberFormat("float8_e5m2", np.dtype("u1"), "float8_e5m2"),
    "I64": NumberFormat("int64", np.dtype("<i8")),
    "I32": NumberFormat("int32", np.dtype("<i4")),
    "I16": NumberFormat("int16", np.dtype("<i2")),
    "I8": NumberFormat("int8", np.dtype("i1")),
    "U64": NumberFormat("uint64", np.dtype("<u8")),
    "U32": NumberFormat("uint32", np.dtype("<u4")),
    "U16": NumberFormat("uint16", np.dtype("<u2")),
    "U8": NumberFormat("uint8", np.dtype("u1")),
}
_REMEDY = translatable(
    "Save the file again with the safetensors library, or get it from its source again."
)


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file: safetensors dtype code, shape, and its bytes [start, end)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class SafetensorsFile:
    """A scanned header. `tensors` keeps the header's order; `metadata` is untrusted text."""

    path: Path
    size_bytes: int
    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]

    def entry(self, name: str) -> TensorEntry:
        if name not in self.tensors:
            raise no_such_tensor(self.path.name, name, tuple(self.tensors))
        return self.tensors[name]


def no_such_tensor(where: str, name: str, names: tuple[str, ...]) -> EngineError:
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return EngineError(
        tr("{where} has no tensor {name}.", where=where, name=f"{name[:200]!r}"),
        tr("Choose one of: {shown}.", shown=shown),
    )


def scan(path: str | Path) -> SafetensorsFile:
    """Read and check the header of a safetensors file, none of its tensors.

    Raises EngineError for a header beyond 10 MB or 20,000 tensors, a name twice, an unknown
    dtype, sizes that do not fit the shape, gaps, overlaps, and a file of another length.
    """
    path = Path(path)
    if not path.is_file():
        raise EngineError(tr("{path} is not a file.", path=path), tr("Check the path."))
    size = path.stat().st_size
    length = int.from_bytes(read_exactly(path, 0, 8), "little") if size >= 8 else 0
    if not 2 <= length <= size - 8:
        head = read_exactly(path, 0, min(size, 512))
        what = name_binary(head) or name_text(head.decode("utf-8", "replace"))
        if what is not None:
            raise EngineError(
                tr("{name} is {what}, no safetensors file.", name=path.name, what=tr(what)),
                conversion(what, tr(_REMEDY)),
            )
        raise _bad(
            path,
            tr(
                "its first bytes announce a header of {length} bytes, and the file has {size}: it "
                "is cut off or something else",
                length=f"{length:,}",
                size=f"{size:,}",
            ),
        )
    if length > limits.MAX_HEADER_BYTES:
        raise _bad(
            path,
            tr(
                "its header has {count} bytes; at most {most} are allowed",
                count=f"{length:,}",
                most=f"{limits.MAX_HEADER_BYTES:,}",
            ),
        )
    header = _parse_header(path, read_exactly(path, 8, length))
    metadata = _metadata(path, header.pop("__metadata__", {}))
    if len(header) > limits.MAX_TENSORS:
        raise _bad(
            path,
            tr(
                "it has {count} tensors; at most {most} are allowed",
                count=f"{len(header):,}",
                most=f"{limits.MAX_TENSORS:,}",
            ),
        )
    entries = [_entry(path, name, value, 8 + length) for name, value in header.items()]
    _check_cover(path, entries, 8 + length, size)
    tensors = MappingProxyType({entry.name: entry for entry in entries})
    return SafetensorsFile(path, size, tensors, MappingProxyType(metadata))


def read_tensor(file: SafetensorsFile, name: str) -> np.ndarray:
    """One whole tensor in its own shape, float32 (float64 from float64 and integers), finite."""
    entry = file.entry(name)
    number = number_format(entry)
    check_memory(name, math.prod(entry.shape))
    raw = np.frombuffer(
        read_exactly(file.path, entry.start, entry.end - entry.start), number.storage
    )
    return as_real(name, number.widen(raw.reshape(entry.shape)))


def read_bytes(file: SafetensorsFile, name: str) -> np.ndarray:
    """A tensor's stored numbers as they lie there, flat: packed 4-bit weights, scales."""
    entry = file.entry(name)
    number = number_format(entry)
    check_memory(name, math.prod(entry.shape))
    data = read_exactly(file.path, entry.start, entry.end - entry.start)
    return np.frombuffer(data, number.storage)


def stored_matrix(file: SafetensorsFile, name: str, flatten: Flatten | None = None) -> StoredMatrix:
    """A tensor as a matrix that stays in the file and is read in blocks."""
    entry = file.entry(name)
    number = number_format(entry)
    shape, first, notes = layout(name, entry.shape, flatten)
    if number.storage.kind in "iu" and number.widening == "none":
        notes = (*notes, f"{number.name} numbers, converted to float64.")
    offset = entry.start + first * number.storage.itemsize
    return StoredMatrix(file.path, offset, number, shape, name, notes)


def number_format(entry: TensorEntry) -> NumberFormat:
    """How to read an entry's numbers. Raises EngineError for booleans, complex and packed ones."""
    if entry.dtype == "BOOL":
        check_number_kind(entry.name, np.dtype(bool))
    if entry.dtype == "C64":
        check_number_kind(entry.name, np.dtype(np.complex64))
    if entry.dtype not in _FORMATS:
        raise EngineError(
            tr(
                "{name} is stored as {dtype}; readable are {formats}.",
                name=entry.name,
                dtype=entry.dtype,
                formats=", ".join(_FORMATS),
            ),
            tr("Save the weight in 16 or 32 bit first."),
        )
    return _FORMATS[entry.dtype]


def dtype_name(code: str) -> str:
    """`BF16` to `bfloat16`; a code we cannot read stays as it is."""
    return _FORMATS[code].name if code in _FORMATS else code


def _bad(path: Path, what: str) -> EngineError:
    return EngineError(
        tr("{name} is not a sound safetensors file: {what}.", name=path.name, what=what),
        tr(_REMEDY),
    )


def parse_json(path: Path, data: bytes) -> object:
    """JSON in UTF-8 that names no key twice. Raises EngineError otherwise."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        seen: dict[str, object] = {}
        for key, value in pairs:
            if key in seen:
                raise ValueError(tr("the name {name} stands there twice", name=repr(key[:100])))
            seen[key] = value
        return seen

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise EngineError(
            tr(
                "{name} holds no sound JSON: {json_complaint}.",
                name=path.name,
                json_complaint=json_complaint(error),
            ),
            tr("Get the file from its source again."),
        ) from None


def _parse_header(path: Path, data: bytes) -> dict[str, object]:
    if data[:1] != b"{":
        raise _bad(path, tr("its header does not begin with a curly bracket"))
    header = parse_json(path, data)
    if not isinstance(header, dict):
        raise _bad(path, tr("its header is not a JSON object"))
    return header


def _metadata(path: Path, value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise _bad(path, tr("its metadata does not map texts to texts"))
    return value


def _entry(path: Path, name: str, value: object, data_start: int) -> TensorEntry:
    """Check one header entry; offsets become places in the file."""
    shown = repr(name[:100])
    if len(name) > limits.MAX_NAME_LENGTH or not name:
        raise _bad(path, tr("a name has {count} characters ({name})", count=len(name), name=shown))
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise _bad(
            path, tr("the entry {name} has not exactly dtype, shape and data_offsets", name=shown)
        )
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise _bad(
            path,
            tr("{name} has the unknown dtype {dtype}", name=shown, dtype=repr(str(dtype)[:20])),
        )
    if not _naturals(shape) or len(shape) > 32:
        raise _bad(path, tr("{name} has the shape {shape}", name=shown, shape=str(shape)[:80]))
    if not _naturals(offsets) or len(offsets) != 2:
        raise _bad(
            path, tr("{name} has the offsets {offsets}", name=shown, offsets=str(offsets)[:80])
        )
    bits = math.prod(shape) * _BITS[dtype]
    if bits % 8 or offsets[1] - offsets[0] != bits // 8:
        raise _bad(
            path,
            tr(
                "{name} needs {needed} bytes for {dtype} {shape} and has {held}",
                name=shown,
                needed=f"{bits // 8:,}",
                dtype=dtype,
                shape=list(shape),
                held=f"{offsets[1] - offsets[0]:,}",
            ),
        )
    return TensorEntry(name, dtype, tuple(shape), data_start + offsets[0], data_start + offsets[1])


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(
        type(item) is int and 0 <= item < 2**63 for item in value
    )


def _check_cover(path: Path, entries: list[TensorEntry], start: int, size: int) -> None:
    """The tensors lie one after another and fill the file to its end."""
    place = start
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.end)):
        if entry.start != place:
            shown = repr(entry.name[:100])
            if entry.start < place:
                raise _bad(path, tr("{name} overlaps the one before", name=shown))
            raise _bad(path, tr("{name} leaves a gap before it", name=shown))
        place = entry.end
    if place != size:
        raise _bad(
            path,
            tr(
                "its tensors end at byte {place}, the file at {size}",
                place=f"{place:,}",
                size=f"{size:,}",
            ),
        )
