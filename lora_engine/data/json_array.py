"""The elements of a JSON array, one after another: never more of the text than one element needs.

Knows nothing of files or of what an element means.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, TextIO

READ_CHARACTERS = 1 << 20
_SPACE = re.compile(r"[ \t\n\r]*")
_NEAR_THE_END = 64
"""Characters before the end of what is read, within which a mistake may be text that is cut off."""

_BEHIND_A_NUMBER = 3
"""Characters that must be seen behind a value: `1.5` may go on as `1.5e+3`."""


class ElementTooLarge(ValueError):
    """An element of more characters or values than are allowed. number: its place, from 1."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"element {number} is too large")


def array_elements(
    text: TextIO, decoder: json.JSONDecoder, most: int, is_too_much: Callable[[str], bool]
) -> Iterator[tuple[int, Any]]:
    """Place and value of each element of the array that the text is, as they are asked for.

    most: characters of one element. is_too_much: of the part of an element that is read.
    Raises JSONDecodeError whose line and column are those of the text, what the decoder raises, and
    ElementTooLarge.
    """
    window = _Window(text)
    window.take("[")
    number = 0
    if window.next_character() == "]":
        window.place += 1
    else:
        while True:
            number += 1
            yield number, _element(window, decoder, most, is_too_much, number)
            if window.next_character() == "]":
                window.place += 1
                break
            window.take(",")
            if window.next_character() == "]":
                raise window.error("Expecting value", window.place)
    if window.next_character():
        raise window.error("Extra data", window.place)


def _element(
    window: _Window,
    decoder: json.JSONDecoder,
    most: int,
    is_too_much: Callable[[str], bool],
    number: int,
) -> Any:
    window.next_character()
    while True:
        held = window.text
        try:
            value, end = decoder.raw_decode(held, window.place)
            if end <= len(held) - _BEHIND_A_NUMBER or window.is_at_end:
                if end - window.place > most:
                    raise ElementTooLarge(number)
                window.place = end
                return value
        except json.JSONDecodeError as error:
            is_cut = error.msg.startswith("Unterminated") or error.pos > len(held) - _NEAR_THE_END
            if window.is_at_end or not is_cut:
                raise window.error(error.msg, error.pos) from None
        read = held[window.place :]
        if len(read) > most or is_too_much(read):
            raise ElementTooLarge(number)
        window.read_on(max(READ_CHARACTERS, len(read)))


class _Window:
    """The part of a text that is held, and the place in it up to which it is understood."""

    def __init__(self, text: TextIO) -> None:
        self._file = text
        self._line, self._column = 1, 1
        self.text, self.place, self.is_at_end = "", 0, False

    def next_character(self) -> str:
        """The next one that is no white space; empty at the end."""
        while True:
            found = _SPACE.match(self.text, self.place)
            self.place = found.end() if found else self.place
            if self.place < len(self.text) or self.is_at_end:
                return self.text[self.place : self.place + 1]
            self.read_on(READ_CHARACTERS)

    def take(self, character: str) -> None:
        """Go behind the character. Raises JSONDecodeError where another is next."""
        if self.next_character() != character:
            raise self.error(f"Expecting {character!r} delimiter", self.place)
        self.place += 1

    def read_on(self, count: int) -> None:
        """Hold that many more characters, and none that are understood but the last few."""
        more = self._file.read(count)
        self.is_at_end = not more
        gone = self.text[: max(0, self.place - _NEAR_THE_END)]
        lines = gone.count("\n")
        self._column = (1 if lines else self._column) + len(gone) - (gone.rfind("\n") + 1)
        self._line += lines
        self.text = self.text[len(gone) :] + more
        self.place -= len(gone)

    def error(self, message: str, place: int) -> json.JSONDecodeError:
        """A mistake at a place of what is held, with the line and column of the whole text."""
        error = json.JSONDecodeError(message, self.text, place)
        if error.lineno == 1:
            error.colno += self._column - 1
        error.lineno += self._line - 1
        return error
