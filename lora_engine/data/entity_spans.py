"""Entities in tagged words: which way of tagging the tags are in, and the spans that they mean.

A tag is "O", outside of every entity, or a place and a type such as "B-PER": B begins an entity, I
and M go on in it, E and L end it, S and U are one word. Tags without places ("PER") mean an entity
for each run of equal words, as long as there is an "O" among the tags. Without one they are classes
of words, such as parts of speech, and have no entities. Knows nothing of models or scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

OUTSIDE = "O"
# A place's meaning in the words of BIOES.
PLACES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}
_NAMES = (
    ("M", "BMES"),
    ("L", "BILOU"),
    ("U", "BILOU"),
    ("E", "BIOES"),
    ("S", "BIOES"),
    ("B", "BIO"),
)


@dataclass(frozen=True)
class Span:
    """Words `start` up to but not including `end` are one entity of the type `name`."""

    name: str
    start: int
    end: int


def tag_scheme(tags: Iterable[str]) -> str | None:
    """BIO, BIOES, BILOU, BMES or IO, from all the tags there are; None where they mean no entities.

    IO is also the name for tags without places.
    """
    inside = {tag for tag in tags if tag != OUTSIDE}
    placed = {tag[0] for tag in inside if _has_place(tag)}
    if not inside:
        return None
    if placed and all(_has_place(tag) for tag in inside):
        return next((name for place, name in _NAMES if place in placed), "IO")
    return "IO" if not placed and OUTSIDE in set(tags) else None


def entity_spans(tags: Sequence[str]) -> tuple[Span, ...]:
    """The entities of one row's tags, from left to right.

    The reading of conlleval and seqeval (its default mode): an entity also begins where I or E
    stands after another type, after "O", or after an ended entity.
    """
    return tuple(_spans(tags))


def type_of(tag: str) -> str:
    """The type of entity that a tag names; empty for "O"."""
    return _split(tag)[1]


def _spans(tags: Sequence[str]) -> Iterator[Span]:
    place_before, name_before, start = OUTSIDE, "", 0
    for position, tag in enumerate((*tags, OUTSIDE)):
        place, name = _split(tag)
        goes_on = place in ("I", "E") and place_before in ("B", "I") and name == name_before
        if not goes_on:
            if name_before:
                yield Span(name_before, start, position)
            start = position
        place_before, name_before = place, name


def _split(tag: str) -> tuple[str, str]:
    """A tag's place in the words of BIOES, and its type."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    return (PLACES[tag[0]], tag[2:]) if _has_place(tag) else ("I", tag)


def _has_place(tag: str) -> bool:
    return tag[0] in PLACES and tag[1:2] == "-" and len(tag) > 2
