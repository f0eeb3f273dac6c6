"""Files of any kind by their first bytes, and text of any encoding: what readers name or decode.

Every reader of a person's file refuses what it does not read by the same names.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
import zlib
from pathlib import Path

from lora_engine.errors import EngineError
from lora_engine.language import tr

PDF = b"%PDF-"
_SIGNATURES = (
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstandard archive"),
    (b"\x04\x22\x4d\x18", "an lz4 archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"FEA1", "a Feather file"),
    (b"GGUF", "a GGUF model"),
    (b"\x89HDF", "an HDF5 file (.h5, Keras, MATLAB 7.3)"),
    (b"MATLAB 5.0", "a MATLAB file (.mat)"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\xd0\xcf\x11\xe0", "an old Office document (.xls, .doc)"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"RIFF", "a RIFF file (WebP, WAV)"),
    (PDF, "a PDF"),
    (b"\x7fELF", "a program"),
    (b"Obj\x01", "an Avro file"),
    (b"RDX", "R's own format (.RData)"),
    (b"\x08\x00\x00\x00TFL3", "a TensorFlow Lite model"),
)
_ZIP_PARTS = (
    ("xl/", "an Excel workbook (.xlsx)"),
    ("word/", "a Word document (.docx)"),
    ("ppt/", "a PowerPoint file (.pptx)"),
    ("content.xml", "an OpenDocument file (.ods, .odt)"),
    ("model.weights.h5", "a Keras model (.keras)"),
)
_CONVERSIONS = (
    ("damaged", "Get the file from its source again."),
    ("archive", "Unpack it first, and give one of the files in it."),
    ("Excel", "Save the sheet as CSV UTF-8."),
    ("OpenDocument", "Save the sheet as CSV."),
    ("Office", "Save the sheet as CSV UTF-8."),
    ("LFS", "Run `git lfs pull` where it was cloned, or download the file itself."),
    ("web page", "Download the file itself, signed in where that is needed."),
    ("MATLAB", "Save the matrix as text (writematrix) or from Python with numpy.save."),
)
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # encrypted, and NotImplementedError for unknown compression
)
"""All that zipfile raises on damaged archives."""


def name_binary(head: bytes) -> str | None:
    """What a file is by its first bytes, where they say so; never for plain text."""
    binary = any(byte < 32 and byte not in b"\t\r\n\f\x1a" for byte in head)
    for signature, what in _SIGNATURES:
        # a text may begin with the letters of a signature: "GGUF is a file format"
        if head.startswith(signature) and (binary or not signature.isascii() or signature == PDF):
            return what
    if head[4:12] in (b"ftypheic", b"ftypmif1", b"ftypavif", b"ftypmp42", b"ftypisom"):
        return "a picture or film (HEIC, AVIF, MP4)"
    if head[257:262] == b"ustar":
        return "a tar archive"
    if re.match(rb"\x08[\x01-\x20]\x12[\x00-\x7f]", head):
        return "an ONNX model"
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return "a BMP picture"
    return None


def name_archive(path: Path) -> str:
    """What a zip archive is, by the names in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:2000]
    except ZIP_ERRORS:
        return "a damaged zip archive"
    for part, what in _ZIP_PARTS:
        if any(name.startswith(part) for name in names):
            return what
    inside = f", with {names[0][:80]!r} in it" if names else ""
    return f"a zip archive{inside}"


def zip_complaint(error: Exception) -> str:
    """What is wrong with an archive, in our own words."""
    text = str(error)
    if "encrypted" in text or "password" in text:
        return "it is encrypted"
    if isinstance(error, NotImplementedError):
        return "it is packed by a method that is not read"
    return "a checksum in it is wrong" if "CRC" in text else "it is damaged or cut off"


def json_complaint(error: Exception, one_line: bool = False) -> str:
    """Why a text is no JSON, in our own words, with the place; a ValueError of ours as it is."""
    if isinstance(error, json.JSONDecodeError):
        line = "" if one_line else f"line {error.lineno:,}, "
        return f"{_json_problem(error)} at {line}column {error.colno:,}"
    if isinstance(error, UnicodeDecodeError):
        return f"byte 0x{error.object[error.start]:02x} at position {error.start:,} is not UTF-8"
    if isinstance(error, RecursionError):
        return "it nests too deeply"
    return "a number in it has too many digits" if "digits" in str(error) else str(error)[:200]


def _json_problem(error: json.JSONDecodeError) -> str:
    """What stands where the parser stopped."""
    rest = error.doc[error.pos :]
    before = error.doc[: error.pos].rstrip()[-1:]
    if error.msg.startswith("Extra data"):
        return f"something more follows its end ({rest.strip()[:20]!r})"
    if error.msg.startswith("Unterminated string"):
        return "a text begins that is not closed"
    if error.msg.startswith("Invalid control character"):
        return "a line break or tab stands inside a text (write \\n or \\t)"
    if error.msg.startswith("Invalid \\"):
        return "a backslash stands alone (write it twice)"
    if not rest.strip():
        return "it breaks off"
    if rest[0] in "]}" and before == "," or (rest[0] == "," and rest[1:].lstrip()[:1] in "]}"):
        return "a comma stands before a closing bracket"
    if rest[0] == "'":
        return "a text stands in single quotes; JSON has double quotes"
    word = re.match(r"\w+", rest)
    if word and word[0] in ("None", "True", "False", "undefined"):
        return f"{word[0]} stands there; JSON has null, true and false"
    if rest.startswith(("//", "/*", "#")):
        return "a comment stands there; JSON has none"
    return f"{rest.splitlines()[0][:20]!r} is not what JSON allows there"


def conversion(what: str, otherwise: str) -> str:
    """What to do with a file that is named so and not read; `otherwise` where that says nothing."""
    return next((remedy for word, remedy in _CONVERSIONS if word in what), otherwise)


def looks_like_text(head: bytes) -> bool:
    """Whether a file's first bytes are text: UTF-8, UTF-16, or ASCII for the most part."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return len(head) < 4 or head[2:4] != bytes(2)
    if _wide_without_mark(head):
        return True
    control = sum(byte < 32 and byte not in b"\t\r\n\f\x1a" for byte in head)
    high = sum(byte >= 128 for byte in head)
    if control:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3 or high < 0.3 * len(head)
    return True


def name_text(start: str) -> str | None:
    """What a text is by how it begins, where it is no table, rows or prose of a person's own."""
    head = start[:4096].lstrip("\ufeff \t\r\n")
    if head.startswith("version https://git-lfs"):
        return "a Git LFS pointer, not the file itself (`git lfs pull` gets it)"
    if re.match(r"(<!doctype html|<html|<head|<body|<!-- )", head, re.IGNORECASE):
        return "a web page (HTML), such as a login or error page saved in place of the file"
    if head.startswith(("<?xml", "<svg")):
        return "XML"
    if head.startswith("{\\rtf"):
        return "a rich text document (.rtf)"
    if re.match(r'\{\s*["}]|\[\s*["{]', head):
        return "JSON"
    return None


def encoding_of(head: bytes) -> str:
    """The encoding of a text by its first bytes: UTF-8 or UTF-16, as Python names them."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    return _wide_without_mark(head[:4096]) or "utf-8-sig"


def decode_text(data: bytes, name: str) -> str:
    """UTF-8 or UTF-16 bytes as text, without a byte order mark.

    Raises EngineError naming the byte, its line and its place where they are neither.
    """
    encoding = encoding_of(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        is_wide = encoding == "utf-16"
        raise undecodable(name, data[error.start], error.start, line, is_wide) from None


def undecodable(name: str, byte: int, position: int, line: int, is_wide: bool) -> EngineError:
    """The error for a text with a byte that its encoding does not allow.

    is_wide: it says of itself that it is UTF-16.
    """
    if is_wide:
        return EngineError(
            tr(
                "{name} is text in UTF-16 that breaks off at byte {position}.",
                name=name,
                position=f"{position:,}",
            ),
            tr("Save it as UTF-8."),
        )
    return EngineError(
        tr(
            "{name} is not UTF-8 text: byte 0x{byte} at position {position}, line "
            "{line}{in_windows}.",
            name=name,
            byte=f"{byte:02x}",
            position=f"{position:,}",
            line=f"{line:,}",
            in_windows=_in_windows(byte),
        ),
        tr("Save the file as UTF-8 (in Excel: CSV UTF-8)."),
    )


def _in_windows(byte: int) -> str:
    """The character that a byte would be in Windows' western code page."""
    try:
        return f" (in Windows-1252 it would be {bytes([byte]).decode('cp1252')!r})"
    except UnicodeDecodeError:
        return ""


def _wide_without_mark(head: bytes) -> str | None:
    """UTF-16 without a byte order mark, by the zero bytes beside its ASCII characters."""
    if len(head) < 4 or 0 not in head:
        return None
    even, odd = head[0::2], head[1::2]
    if odd.count(0) > 0.7 * len(odd) and 0 not in even:
        return "utf-16-le"
    return "utf-16-be" if even.count(0) > 0.7 * len(even) and 0 not in odd else None
