"""Files of any kind by their first bytes, and text of any encoding: what readers name or decode.

Every reader of a person's file refuses what it does not read by the same names. A name is English
and in the catalogue; `tr` says it where it is shown.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
import zlib
from pathlib import Path

from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable

PDF = b"%PDF-"
_SIGNATURES = (
    (b"\x1f\x8b", translatable("a gzip archive")),
    (b"BZh", translatable("a bzip2 archive")),
    (b"\xfd7zXZ\x00", translatable("an xz archive")),
    (b"\x28\xb5\x2f\xfd", translatable("a zstandard archive")),
    (b"\x04\x22\x4d\x18", translatable("an lz4 archive")),
    (b"7z\xbc\xaf", translatable("a 7z archive")),
    (b"Rar!", translatable("a RAR archive")),
    (b"PAR1", translatable("a Parquet file")),
    (b"ARROW1", translatable("an Arrow file")),
    (b"FEA1", translatable("a Feather file")),
    (b"GGUF", translatable("a GGUF model")),
    (b"\x89HDF", translatable("an HDF5 file (.h5, Keras, MATLAB 7.3)")),
    (b"MATLAB 5.0", translatable("a MATLAB file (.mat)")),
    (b"\x93NUMPY", translatable("a NumPy array (.npy)")),
    (b"SQLite format 3\x00", translatable("an SQLite database")),
    (b"\xd0\xcf\x11\xe0", translatable("an old Office document (.xls, .doc)")),
    (b"\x89PNG\r\n\x1a\n", translatable("a PNG picture")),
    (b"\xff\xd8\xff", translatable("a JPEG picture")),
    (b"GIF8", translatable("a GIF picture")),
    (b"\xff\xfe\x00\x00", translatable("text in UTF-32")),
    (b"\x00\x00\xfe\xff", translatable("text in UTF-32")),
    (b"II*\x00", translatable("a TIFF picture")),
    (b"MM\x00*", translatable("a TIFF picture")),
    (b"RIFF", translatable("a RIFF file (WebP, WAV)")),
    (PDF, translatable("a PDF")),
    (b"\x7fELF", translatable("a program")),
    (b"Obj\x01", translatable("an Avro file")),
    (b"RDX", translatable("R's own format (.RData)")),
    (b"\x08\x00\x00\x00TFL3", translatable("a TensorFlow Lite model")),
)
_ZIP_PARTS = (
    ("xl/", translatable("an Excel workbook (.xlsx)")),
    ("word/", translatable("a Word document (.docx)")),
    ("ppt/", translatable("a PowerPoint file (.pptx)")),
    ("content.xml", translatable("an OpenDocument file (.ods, .odt)")),
    ("model.weights.h5", translatable("a Keras model (.keras)")),
)
_CONVERSIONS = (
    ("damaged", translatable("Get the file from its source again.")),
    ("archive", translatable("Unpack it first, and give one of the files in it.")),
    ("Excel", translatable("Save the sheet as CSV UTF-8.")),
    ("OpenDocument", translatable("Save the sheet as CSV.")),
    ("Office", translatable("Save the sheet as CSV UTF-8.")),
    ("UTF-32", translatable("Save it as UTF-8.")),
    ("LFS", translatable("Run `git lfs pull` where it was cloned, or download the file itself.")),
    ("web page", translatable("Download the file itself, signed in where that is needed.")),
    (
        "MATLAB",
        translatable("Save the matrix as text (writematrix) or from Python with numpy.save."),
    ),
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
ZIP_ARCHIVE = translatable("a zip archive")
SINGLE_QUOTES = translatable("a text stands in single quotes; JSON has double quotes")


def name_binary(head: bytes) -> str | None:
    """What a file is by its first bytes, where they say so; never for plain text."""
    binary = any(byte < 32 and byte not in b"\t\r\n\f\x1a" for byte in head)
    for signature, what in _SIGNATURES:
        # a text may begin with the letters of a signature: "GGUF is a file format"
        if head.startswith(signature) and (binary or not signature.isascii() or signature == PDF):
            return what
    if head[4:12] in (b"ftypheic", b"ftypmif1", b"ftypavif", b"ftypmp42", b"ftypisom"):
        return translatable("a picture or film (HEIC, AVIF, MP4)")
    if head[257:262] == b"ustar":
        return translatable("a tar archive")
    if re.match(rb"\x08[\x01-\x20]\x12[\x00-\x7f]", head):
        return translatable("an ONNX model")
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return translatable("a BMP picture")
    return None


def name_archive(path: Path) -> str:
    """What a zip archive is, by the names in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:2000]
    except ZIP_ERRORS:
        return translatable("a damaged zip archive")
    for part, what in _ZIP_PARTS:
        if any(name.startswith(part) for name in names):
            return what
    return f"{ZIP_ARCHIVE}, with {names[0][:80]!r} in it" if names else ZIP_ARCHIVE


def zip_complaint(error: Exception) -> str:
    """What is wrong with an archive, in our own words."""
    text = str(error)
    if "encrypted" in text or "password" in text:
        return tr("it is encrypted")
    if isinstance(error, NotImplementedError):
        return tr("it is packed by a method that is not read")
    return tr("a checksum in it is wrong" if "CRC" in text else "it is damaged or cut off")


def json_complaint(error: Exception, one_line: bool = False) -> str:
    """Why a text is no JSON, in our own words, with the place; a ValueError of ours as it is."""
    if isinstance(error, json.JSONDecodeError):
        return tr(
            "{problem} at column {column}"
            if one_line
            else "{problem} at line {line}, column {column}",
            problem=_json_problem(error),
            line=f"{error.lineno:,}",
            column=f"{error.colno:,}",
        )
    if isinstance(error, UnicodeDecodeError):
        byte, place = f"0x{error.object[error.start]:02x}", f"{error.start:,}"
        return tr("byte {byte} at position {place} is not UTF-8", byte=byte, place=place)
    if isinstance(error, RecursionError):
        return tr("it nests too deeply")
    return tr("a number in it has too many digits") if "digits" in str(error) else str(error)[:200]


def _json_problem(error: json.JSONDecodeError) -> str:
    """What stands where the parser stopped."""
    rest = error.doc[error.pos :]
    before = error.doc[: error.pos].rstrip()[-1:]
    if error.msg.startswith("Extra data"):
        return tr("something more follows its end ({text})", text=f"{rest.strip()[:20]!r}")
    if error.msg.startswith("Unterminated string"):
        return tr("a text begins that is not closed")
    if error.msg.startswith("Invalid control character"):
        return tr("a line break or tab stands inside a text (write \\n or \\t)")
    if error.msg.startswith("Invalid \\"):
        return tr("a backslash stands alone (write it twice)")
    if not rest.strip():
        return tr("it breaks off")
    if rest[0] in "]}" and before == "," or (rest[0] == "," and rest[1:].lstrip()[:1] in "]}"):
        return tr("a comma stands before a closing bracket")
    if rest[0] == "'":
        return tr(SINGLE_QUOTES)
    word = re.match(r"\w+", rest)
    if word and word[0] in ("None", "True", "False", "undefined"):
        return tr("{word} stands there; JSON has null, true and false", word=word[0])
    if rest.startswith(("//", "/*", "#")):
        return tr("a comment stands there; JSON has none")
    return tr("{text} is not what JSON allows there", text=f"{rest.splitlines()[0][:20]!r}")


def conversion(what: str, otherwise: str) -> str:
    """What to do with a file that is named so and not read; `otherwise` where that says nothing."""
    return next((tr(remedy) for word, remedy in _CONVERSIONS if word in what), otherwise)


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
        return translatable("a Git LFS pointer, not the file itself (`git lfs pull` gets it)")
    if re.match(r"(<!doctype html|<html|<head|<body|<!-- )", head, re.IGNORECASE):
        return translatable(
            "a web page (HTML), such as a login or error page saved in place of the file"
        )
    if head.startswith(("<?xml", "<svg")):
        return "XML"
    if head.startswith("{\\rtf"):
        return translatable("a rich text document (.rtf)")
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
