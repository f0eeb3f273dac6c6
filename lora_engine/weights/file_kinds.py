"""What a file is, by its first bytes. A name that says otherwise is refused, not believed."""

from __future__ import annotations

import zipfile
from enum import Enum
from pathlib import Path

from lora_engine.errors import EngineError, NotFound
from lora_engine.foreign_files import (
    ZIP_ERRORS,
    conversion,
    looks_like_text,
    name_archive,
    name_binary,
    name_text,
)
from lora_engine.language import tr, translatable


class Kind(Enum):
    """The kinds of file that hold a matrix; the value is how a person calls them."""

    NPY = translatable("a NumPy array (.npy)")
    NPZ = translatable("a NumPy archive (.npz)")
    TEXT = translatable("text (.csv, .tsv, .txt)")
    SAFETENSORS = translatable("a safetensors file")
    PICKLE = translatable("a pickled torch file (.pt)")
    PICTURE = translatable("a PNG or JPEG picture")


SUFFIXES = {
    ".npy": Kind.NPY,
    ".npz": Kind.NPZ,
    ".csv": Kind.TEXT,
    ".tsv": Kind.TEXT,
    ".txt": Kind.TEXT,
    ".safetensors": Kind.SAFETENSORS,
    ".pt": Kind.PICKLE,
    ".pth": Kind.PICKLE,
    ".bin": Kind.PICKLE,
    ".ckpt": Kind.PICKLE,
    ".pkl": Kind.PICKLE,
    ".png": Kind.PICTURE,
    ".jpg": Kind.PICTURE,
    ".jpeg": Kind.PICTURE,
}
_SIGNATURES = (
    (b"\x93NUMPY", Kind.NPY),
    (b"\x89PNG\r\n\x1a\n", Kind.PICTURE),
    (b"\xff\xd8\xff", Kind.PICTURE),
)
ALLOWED = ".npy, .npz, .csv, .safetensors, .pt, .png or .jpg"


def detect(path: Path) -> Kind:
    """The kind of a file by its content.

    Raises NotFound when there is no such file, EngineError for an empty file, a kind that is
    not read, and a name whose ending says another kind.
    """
    if not path.is_file():
        raise NotFound(tr("There is no file {path}.", path=path), tr("Check the path."))
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise EngineError(
            tr("{name} is empty (0 bytes).", name=path.name),
            tr("Give a {allowed} file.", allowed=ALLOWED),
        )
    kind = _by_content(path, head)
    if kind is None:
        raise _not_read(path, _name_other(path, head))
    named = name_text(head.decode("utf-8", "replace")) if kind is Kind.TEXT else None
    if named is not None:
        raise _not_read(path, named)
    expected = SUFFIXES.get(path.suffix.lower(), kind)
    if kind is not expected:
        raise EngineError(
            tr(
                "{name} is named as {value}, but by its content it is {value_2}.",
                name=path.name,
                value=tr(expected.value),
                value_2=tr(kind.value),
            ),
            tr("Give it its right ending, or check that it is the file you mean."),
        )
    return kind


def _not_read(path: Path, what: str) -> EngineError:
    return EngineError(
        tr(
            "{name} is {what}, which is not read; allowed are {allowed}.",
            name=path.name,
            what=tr(what),
            allowed=ALLOWED,
        ),
        conversion(what, tr("Convert it to one of these first.")),
    )


def _by_content(path: Path, head: bytes) -> Kind | None:
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head.startswith(b"PK\x03\x04"):
        return _archive_kind(path)
    if _looks_like_safetensors(path, head):
        return Kind.SAFETENSORS
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return Kind.PICKLE
    if name_binary(head) is not None:
        return None
    return Kind.TEXT if looks_like_text(head) else None


def _archive_kind(path: Path) -> Kind | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:2000]
    except ZIP_ERRORS:
        return None
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return Kind.PICKLE
    return Kind.NPZ if any(name.endswith(".npy") for name in names) else None


def _looks_like_safetensors(path: Path, head: bytes) -> bool:
    """Eight bytes of length, then a JSON object; or the ending says so and the length is odd."""
    if len(head) < 9 or head[8:9] != b"{":
        return False
    length = int.from_bytes(head[:8], "little")
    return length <= path.stat().st_size or path.suffix.lower() == ".safetensors"


def _name_other(path: Path, head: bytes) -> str:
    if head.startswith(b"PK\x03\x04"):
        return name_archive(path)
    return name_binary(head) or tr(
        "of an unknown kind (its first bytes are {bytes})", bytes=head[:4].hex(" ")
    )
