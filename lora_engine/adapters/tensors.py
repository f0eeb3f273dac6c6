"""Names, types and shapes in a safetensors file, read from its header alone and distrusted.

The format: 8 bytes little-endian header length, a JSON header, then the data. The whole layout
is checked against the file's size, so a file cut short in the middle of writing is noticed
before a library maps it.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

from lora_engine.errors import EngineError

MAX_HEADER_BYTES = 10_000_000
MAX_TENSORS = 20_000
DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1}
FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")
REMEDY = "Copy or save the file again, whole."


@dataclass(frozen=True)
class TensorEntry:
    dtype: str
    shape: tuple[int, ...]


def read_tensor_entries(path: Path) -> dict[str, TensorEntry]:
    """Tensor name to its type and shape.

    Raises EngineError for a header that is too large, torn, or not JSON, for a name twice, and
    for data that do not fill the file exactly.
    """
    header, data_bytes = _read_header(path)
    tensors = {name: item for name, item in header.items() if name != "__metadata__"}
    if len(tensors) > MAX_TENSORS:
        raise EngineError(
            f"{path} holds {len(tensors):,} tensors; at most {MAX_TENSORS:,} are allowed.", REMEDY
        )
    entries, end = {}, 0
    for name, item in tensors.items():
        try:
            shape = tuple(int(size) for size in item["shape"])
            dtype = str(item["dtype"])
            begin, stop = (int(offset) for offset in item["data_offsets"])
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError(f"{path}: the entry of {name!r} is malformed.", REMEDY) from error
        expected = math.prod(shape) * DTYPE_BYTES.get(dtype, 0)
        if min(shape, default=1) < 0 or (dtype in DTYPE_BYTES and stop - begin != expected):
            raise EngineError(
                f"{path}: {name!r} is {dtype} {list(shape)} in {stop - begin:,} bytes.", REMEDY
            )
        entries[name] = TensorEntry(dtype, shape)
        end = max(end, stop)
    if end != data_bytes:
        raise EngineError(
            f"{path} is cut short or padded: {data_bytes:,} bytes of data, {end:,} announced.",
            REMEDY,
        )
    return entries


def read_folder_entries(folder: Path) -> dict[str, TensorEntry]:
    """The entries of every safetensors file in a model folder, together."""
    entries: dict[str, TensorEntry] = {}
    for path in sorted(folder.glob("*.safetensors")):
        entries.update(read_tensor_entries(path))
    return entries


def _read_header(path: Path) -> tuple[dict, int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise EngineError(f"{path} has {size} bytes and is no safetensors file.", REMEDY)
        (length,) = struct.unpack("<Q", prefix)
        if length > min(MAX_HEADER_BYTES, size - 8):
            raise EngineError(
                f"{path} announces a header of {length:,} bytes in a file of {size:,}; at most "
                f"{MAX_HEADER_BYTES:,} are allowed.",
                REMEDY,
            )
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise EngineError(f"{path}: the header is not readable ({error}).", REMEDY) from None
    if not isinstance(header, dict):
        raise EngineError(f"{path}: the header is no JSON object.", REMEDY)
    return header, size - 8 - length


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in it twice")
    return found
