"""A pasted text as words, each with its place: the way that sets with tags split theirs."""

from __future__ import annotations

import re
from dataclasses import dataclass

# A run of letters, digits and what joins them (don't, 3.5, A-1), or one other mark.
WORD = re.compile(r"\w+(?:[.'’\-]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class Word:
    """Characters `start` up to `end` of the text."""

    text: str
    start: int
    end: int


def words_of(text: str) -> list[Word]:
    return [Word(found[0], *found.span()) for found in WORD.finditer(text)]
