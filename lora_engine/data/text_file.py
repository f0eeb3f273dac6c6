"""A text file read piece by piece, packed or not: decoded on the way, its size counted meanwhile.

Knows nothing of rows. A file is what its content says: gzip is unpacked whatever the name.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO

from lora_engine.errors import EngineError
from lora_engine.foreign_files import encoding_of, undecodable
from lora_engine.language import tr

GZIP = b"\x1f\x8b"
HEAD_BYTES = 65_536
CHUNK_BYTES = 1 << 20
ByteStream = IO[bytes] | gzip.GzipFile


@dataclass(frozen=True)
class TextBounds:
    """How much is read. bytes: of the file and of what it unpacks to. line: characters of a line.

    unpacked, ratio: a packed file may unpack to `unpacked` bytes, and to more only while that is
    less than `ratio` times its size.
    """

    bytes: int
    line: int
    unpacked: int
    ratio: int


class TextFile:
    """One file. Every method raises EngineError for what is damaged, too large or no text."""

    def __init__(self, path: Path, source: str, bounds: TextBounds) -> None:
        """source: what the person called it."""
        self.path, self.source, self.bounds = path, source, bounds
        with self._bytes() as file:
            self.head_bytes = file.read(HEAD_BYTES)

    @property
    def head(self) -> str:
        """The beginning as text; what is cut in two at its end, or is wrong, is replaced."""
        return self.head_bytes.decode(encoding_of(self.head_bytes), "replace")

    @contextmanager
    def opened(self, newline: str | None) -> Iterator[TextIO]:
        """The text from its beginning; newline as `open` takes it."""
        encoding = encoding_of(self.head_bytes)
        with self._bytes() as file:
            try:
                yield io.TextIOWrapper(file, encoding, newline=newline)
            except UnicodeDecodeError:
                self._refuse_bytes(encoding)
                raise

    def lines(self, newline: str | None) -> Iterator[str]:
        """Its lines with their ends, each of bounded length."""
        most = self.bounds.line
        with self.opened(newline) as text:
            number = 1
            while line := text.readline(most + 1):
                if len(line) > most:
                    raise EngineError(
                        tr(
                            "{source}, line {number} has more than {most} characters.",
                            source=self.source,
                            number=f"{number:,}",
                            most=f"{most:,}",
                        ),
                        tr("Give one row on each line (JSON Lines), or a CSV file."),
                    )
                yield line
                number += 1

    def whole(self, most_bytes: int) -> str:
        """All of it. Raises EngineError for more than `most_bytes`, unpacked."""
        with self.opened("") as text:
            pieces, size = [], 0
            while piece := text.read(CHUNK_BYTES):
                size += len(piece)
                if size > most_bytes:
                    raise EngineError(
                        tr(
                            "{source} is one JSON document of more than {most_bytes} bytes; "
                            "only rows on lines of their own are read from a larger file.",
                            source=self.source,
                            most_bytes=f"{most_bytes:,}",
                        ),
                        tr("Save the rows as JSON Lines: one object on each line."),
                    )
                pieces.append(piece)
        return "".join(pieces)

    def is_small(self, most_bytes: int, most_values: int) -> bool:
        """Whether it has no more bytes than these, unpacked, and no more marks that may begin a
        value or a row: the bytes say nothing of the memory that `[],[],` takes."""
        read = marks = 0
        with self._bytes() as file:
            while chunk := file.read(CHUNK_BYTES):
                read += len(chunk)
                marks += sum(map(chunk.count, b"[{,;\n"))
                if read > most_bytes or marks > most_values:
                    return False
        return True

    @contextmanager
    def _bytes(self) -> Iterator[io.BufferedReader[Any]]:
        with self.path.open("rb") as file:
            is_packed = file.peek(2)[:2] == GZIP
            stream = gzip.GzipFile(fileobj=file) if is_packed else file
            counted = _Counted(stream, self.source, self._most_bytes(file, is_packed), is_packed)
            with io.BufferedReader(counted, CHUNK_BYTES) as reader:
                yield reader

    def _most_bytes(self, file: IO[bytes], is_packed: bool) -> int:
        size = os.fstat(file.fileno()).st_size
        if not is_packed:
            return self.bounds.bytes
        most = max(self.bounds.unpacked, self.bounds.ratio * size)
        return min(self.bounds.bytes, most)

    def _refuse_bytes(self, encoding: str) -> None:
        """Raises EngineError naming the first byte that is no text; reads the file once more."""
        decoder = codecs.getincrementaldecoder(encoding)()
        before, line = 0, 1
        with self._bytes() as file:
            while True:
                chunk = file.read(CHUNK_BYTES)
                pending = decoder.getstate()[0]
                try:
                    decoder.decode(chunk, final=not chunk)
                except UnicodeDecodeError as error:
                    data = pending + chunk
                    at = before - len(pending) + error.start
                    line += data.count(b"\n", 0, error.start)
                    byte = data[error.start] if error.start < len(data) else 0
                    wide = encoding == "utf-16"
                    raise undecodable(self.source, byte, at, line, wide) from None
                if not chunk:
                    return
                before += len(chunk)
                line += chunk.count(b"\n")


class _Counted(io.RawIOBase):
    """A stream that ends with an EngineError where it gives more bytes than are allowed."""

    def __init__(self, stream: ByteStream, source: str, most: int, is_packed: bool) -> None:
        self._stream, self._source, self._left = stream, source, most
        self._most, self._is_packed = most, is_packed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        try:
            data = self._stream.read(min(len(view), self._left + 1))
        except (OSError, EOFError, zlib.error) as error:
            if not self._is_packed:
                raise
            raise EngineError(
                tr("{source} is a gzip archive that is damaged or cut off.", source=self._source),
                tr("Get it from its source again."),
            ) from error
        self._left -= len(data)
        if self._left < 0:
            what = "unpacks to" if self._is_packed else "has"
            raise EngineError(
                tr(
                    "{source} {what} more than {most} bytes.",
                    source=self._source,
                    what=what,
                    most=f"{self._most:,}",
                ),
                tr("Train on a part of it."),
            )
        view[: len(data)] = data
        return len(data)
