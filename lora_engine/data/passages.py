"""A running text cut into passages. Knows nothing of what they are for."""

from __future__ import annotations

from collections.abc import Iterator

from lora_engine.data.text_file import CHUNK_BYTES, TextFile
from lora_engine.errors import EngineError
from lora_engine.language import tr

PASSAGE_CHARACTERS = 4_000
MAX_BLANK = 1_000  # passages before the first that says something


def passages(file: TextFile) -> Iterator[tuple[int, str]]:
    """Number and text of each passage: cut at blank lines, line ends or anywhere, in that order of
    preference.

    Every passage has at most `PASSAGE_CHARACTERS` characters; joined they are the text, with
    Unix line ends. A text of white space has none. Raises EngineError as `TextFile` does.
    """
    blank: list[str] = []
    number = 0
    for passage in _cut(_pieces(file)):
        if number == 0 and not passage.strip():
            blank.append(passage)
            if len(blank) > MAX_BLANK:
                raise EngineError(
                    tr(
                        "{source} begins with more than {max_blank} characters of white space.",
                        source=file.source,
                        max_blank=f"{MAX_BLANK * PASSAGE_CHARACTERS:,}",
                    ),
                    tr("Remove them."),
                )
            continue
        for one in (*blank, passage):
            number += 1
            yield number, one
        blank = []


def _pieces(file: TextFile) -> Iterator[str]:
    """The text with Unix line ends, in pieces that part no line end."""
    held = ""
    with file.opened("") as text:
        while piece := text.read(CHUNK_BYTES):
            piece = held + piece
            held = "\r" if piece.endswith("\r") else ""
            yield (piece[:-1] if held else piece).replace("\r\n", "\n")
    yield held


def _cut(pieces: Iterator[str]) -> Iterator[str]:
    rest = ""
    for piece in pieces:
        text, start = rest + piece, 0
        while len(text) - start > PASSAGE_CHARACTERS:
            end = _end(text, start)
            yield text[start:end]
            start = end
        rest = text[start:]
    if rest:
        yield rest


def _end(text: str, start: int) -> int:
    """Where the passage that begins at `start` ends; more text follows."""
    end = start + PASSAGE_CHARACTERS
    for separator in ("\n\n", "\n", " "):
        found = text.rfind(separator, start, end)
        if found > start:
            return found + len(separator)
    return end
