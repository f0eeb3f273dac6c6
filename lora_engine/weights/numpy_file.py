"""NumPy files: `.npy` read in blocks where it lies, `.npz` unpacked one array at a time.

The header comes first and must fit the file's size; nothing pickled is ever loaded.
"""

from __future__ import annotations

import ast
import io
import math
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from lora_engine.errors import EngineError
from lora_engine.foreign_files import ZIP_ERRORS, zip_complaint
from lora_engine.language import tr, translatable
from lora_engine.weights import limits
from lora_engine.weights.matrix import (
    Flatten,
    MatrixSource,
    TensorInfo,
    Transposed,
    array_matrix,
    check_memory,
    check_number_kind,
    describe_shape,
    layout,
)
from lora_engine.weights.safetensors_file import no_such_tensor
from lora_engine.weights.stored_matrix import NumberFormat, StoredMatrix, read_exactly

MAX_HEADER_TEXT = 10_000
_REMEDY = translatable("Save the array again with numpy.save or numpy.savez.")


@dataclass(frozen=True)
class ArrayHeader:
    """What an .npy header declares, and how many bytes the header itself takes."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    length: int

    @property
    def data_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def list_npy(path: Path) -> tuple[TensorInfo, ...]:
    header = _npy_header(path)
    return (TensorInfo(path.stem, header.shape, str(header.dtype)),)


def open_npy(path: Path, flatten: Flatten | None = None, name: str | None = None) -> MatrixSource:
    """An .npy matrix that stays in its file. Raises EngineError when its size does not fit."""
    header = _npy_header(path)
    name = name or path.name
    check_number_kind(name, header.dtype)
    if header.fortran_order and len(header.shape) > 2:
        check_memory(name, math.prod(header.shape))
        data = read_exactly(path, header.length, header.data_bytes)
        values = np.frombuffer(data, header.dtype).reshape(header.shape, order="F")
        return array_matrix(values, name, flatten)
    shape, first, notes = layout(name, header.shape, flatten)
    if header.dtype.kind in "iu":
        notes = (*notes, f"{header.dtype} numbers, converted to float64.")
    number = NumberFormat(str(header.dtype), header.dtype)
    offset = header.length + first * header.dtype.itemsize
    if header.fortran_order:
        lying = StoredMatrix(path, offset, number, (shape[1], shape[0]), name, notes)
        return Transposed(lying)
    return StoredMatrix(path, offset, number, shape, name, notes)


def list_npz(path: Path) -> tuple[TensorInfo, ...]:
    """The arrays of an archive; one that is not sound leaves the others listed."""
    found, refused = [], []
    with _open_archive(path) as archive:
        for entry in archive.infolist():
            try:
                header = _entry_header(archive, entry)
            except EngineError as error:
                refused.append(error)
                continue
            found.append(TensorInfo(_array_name(entry), header.shape, str(header.dtype)))
    if refused and not found:
        raise refused[0]
    return tuple(found)


def open_npz(path: Path, name: str, flatten: Flatten | None = None) -> MatrixSource:
    """One array of an .npz, unpacked into memory."""
    with _open_archive(path) as archive:
        entries = {_array_name(entry): entry for entry in archive.infolist()}
        if name not in entries:
            raise no_such_tensor(path.name, name, tuple(entries))
        header = _entry_header(archive, entries[name])
        check_number_kind(name, header.dtype)
        check_memory(name, math.prod(header.shape))
        data = _unpack(archive, entries[name])[header.length :]
    order: Literal["C", "F"] = "F" if header.fortran_order else "C"
    values = np.frombuffer(data, header.dtype).reshape(header.shape, order=order)
    return array_matrix(values, name, flatten)


def _npy_header(path: Path) -> ArrayHeader:
    size = path.stat().st_size
    with path.open("rb") as file:
        return _read_header(file, path.name, size)


def _read_header(file: BinaryIO, name: str, size: int) -> ArrayHeader:
    """Parse an .npy header; its array must fill the file (of `size` bytes) to the end.

    By ourselves, because NumPy's own reader lets other errors through on damaged headers.
    """
    start = file.read(8)
    if start[:6] != b"\x93NUMPY" or start[6:] not in (b"\x01\x00", b"\x02\x00"):
        raise _bad(name, tr("it does not begin as an .npy file of version 1.0 or 2.0"))
    count = 2 if start[6] == 1 else 4
    length = int.from_bytes(file.read(count), "little")
    if length > MAX_HEADER_TEXT:
        raise _bad(
            name,
            tr(
                "its beginning is damaged: it announces that the array is described in {length} "
                "bytes, and NumPy needs about 100 (at most {most} are read)",
                length=f"{length:,}",
                most=f"{MAX_HEADER_TEXT:,}",
            ),
        )
    shape, fortran_order, dtype = _parse_header(name, file.read(length))
    header = ArrayHeader(shape, fortran_order, dtype, 8 + count + length)
    if header.length + header.data_bytes != size:
        raise _bad(
            name,
            tr(
                "its header asks for {shape} numbers of {dtype}, {asked} bytes, and it has {held}",
                shape=describe_shape(shape),
                dtype=dtype,
                asked=f"{header.data_bytes:,}",
                held=f"{size - header.length:,}",
            ),
        )
    return header


def _parse_header(name: str, text: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """The header's literal {'descr': ..., 'fortran_order': ..., 'shape': ...}, checked."""
    try:
        content = ast.literal_eval(text.decode("latin-1").strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise _bad(name, tr("its beginning, which should describe the array, is damaged")) from None
    if not isinstance(content, dict) or set(content) != {"descr", "fortran_order", "shape"}:
        raise _bad(name, tr("its header has not exactly descr, fortran_order and shape"))
    descr, fortran_order, shape = content["descr"], content["fortran_order"], content["shape"]
    if not isinstance(descr, str) or not re.fullmatch(r"[<>|=]?[a-zA-Z]\d{0,3}", descr):
        raise _bad(
            name, tr("its dtype is {dtype}, not one kind of number", dtype=repr(str(descr)[:60]))
        )
    try:
        dtype = np.dtype(descr)
    except (TypeError, ValueError):
        raise _bad(
            name, tr("its dtype is {dtype}, which NumPy does not know", dtype=repr(descr))
        ) from None
    if dtype.hasobject:
        raise _bad(name, tr("it holds pickled Python objects, which are never loaded"))
    sound = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 2**63 for n in shape)
    if not sound or len(shape) > 32 or not isinstance(fortran_order, bool):
        raise _bad(name, tr("its shape is {shape}", shape=str(shape)[:60]))
    return shape, fortran_order, dtype


def _open_archive(path: Path) -> zipfile.ZipFile:
    """Open an .npz and check what it declares before anything is unpacked."""
    try:
        archive = zipfile.ZipFile(path)
    except ZIP_ERRORS as error:
        raise _bad(path.name, zip_complaint(error)) from None
    try:
        _check_archive(path, archive.infolist())
    except EngineError:
        archive.close()
        raise
    return archive


def _check_archive(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    if not 1 <= len(entries) <= limits.MAX_ARCHIVE_ENTRIES:
        raise _bad(
            path.name,
            tr(
                "it has {count} entries; 1 to {most} are allowed",
                count=f"{len(entries):,}",
                most=f"{limits.MAX_ARCHIVE_ENTRIES:,}",
            ),
        )
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise _bad(path.name, tr("a name stands in it twice"))
    for entry in entries:
        if not entry.filename.endswith(".npy"):
            raise _bad(
                path.name,
                tr("the entry {name} is not an .npy array", name=repr(entry.filename[:100])),
            )
        if entry.flag_bits & 1 or entry.compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):
            raise _bad(
                path.name,
                tr("the entry {name} is packed unusually", name=repr(entry.filename[:100])),
            )
    total = sum(entry.file_size for entry in entries)
    packed = max(1, sum(entry.compress_size for entry in entries))
    if total > limits.MAX_ARCHIVE_BYTES:
        raise _bad(
            path.name,
            tr(
                "it unpacks to {count} bytes; at most {most} are allowed",
                count=f"{total:,}",
                most=f"{limits.MAX_ARCHIVE_BYTES:,}",
            ),
        )
    if total > limits.RATIO_FREE_BYTES and total / packed > limits.MAX_ARCHIVE_RATIO:
        raise _bad(
            path.name,
            tr(
                "it unpacks to {times} times its size; at most {most} times is allowed",
                times=f"{total / packed:,.0f}",
                most=limits.MAX_ARCHIVE_RATIO,
            ),
        )


def _entry_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> ArrayHeader:
    try:
        with archive.open(entry) as file:
            head = io.BytesIO(file.read(min(entry.file_size, 65_536)))
    except ZIP_ERRORS as error:
        raise _bad(entry.filename, zip_complaint(error)) from None
    return _read_header(head, entry.filename, entry.file_size)


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    try:
        # zipfile reads no further than the declared size, whatever the packed stream says.
        data = archive.read(entry)
    except ZIP_ERRORS as error:
        raise _bad(entry.filename, zip_complaint(error)) from None
    if len(data) != entry.file_size:
        raise _bad(entry.filename, tr("it is shorter than it declares"))
    return data


def _array_name(entry: zipfile.ZipInfo) -> str:
    return entry.filename.removesuffix(".npy")


def _bad(name: str, what: str) -> EngineError:
    return EngineError(
        tr("{name} is not a sound NumPy file: {what}.", name=name[:200], what=what), tr(_REMEDY)
    )
