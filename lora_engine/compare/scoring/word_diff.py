"""Where two answers differ, word by word (Python's difflib; spaces stay with the text)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

MAX_WORDS = 2000  # matching is quadratic at worst
_WORDS = re.compile(r"\s+|[^\s\w]|\w+")


@dataclass(frozen=True)
class Piece:
    """A stretch of text: in both answers, in the first alone, or in the second alone."""

    kind: Literal["same", "gone", "new"]
    text: str


def diff_words(before: str, after: str) -> tuple[Piece, ...]:
    """The pieces in order; those not `new` join to `before`, those not `gone` to `after`.

    Texts of more than 2,000 words are given whole, as gone and new.
    """
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    if max(len(old), len(new)) > MAX_WORDS:
        return tuple(piece for piece in (Piece("gone", before), Piece("new", after)) if piece.text)
    pieces: list[Piece] = []
    for kind, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(_piece("same", old[i:j]))
        else:
            pieces += [_piece("gone", old[i:j]), _piece("new", new[k:m])]
    return tuple(piece for piece in pieces if piece.text)


def _piece(kind: Literal["same", "gone", "new"], words: list[str]) -> Piece:
    return Piece(kind, "".join(words))
