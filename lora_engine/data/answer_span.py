"""Where a learned answer starts and ends in a rendered row, once its text is found.

It starts where the row and the generation prompt part, and ends with the token that ends the turn.
This module knows nothing of rows or templates; it reads one text.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from lora_engine.data.turn_layout import TurnEnd, until_opener
from lora_engine.data.turn_regions import Region, common_prefix, token_start


@dataclass(frozen=True)
class Ends:
    """How a template ends turns, and the tokens that may: what spans are closed with."""

    turn: TurnEnd
    specials: re.Pattern[str]
    eos: str


def answer_start(text: str, region: Region, specials: re.Pattern[str]) -> int:
    """Where the model starts to write: where the text and the generation prompt part.

    Not within a word of either: there the answer's own text begins.
    """
    if not region.prompt:
        return region.start
    parting, is_whole = _parting(text, region.given_from, region.prompt)
    if is_whole:
        return min(parting, region.end)
    if parting < region.start:
        behind = _behind_header(text[parting : region.start], region.prompt, specials)
        if behind is not None:
            return parting + behind
        border = _border(text, region.given_from, parting, specials)
        return parting if border == parting else region.start
    return _border(text, region.start, parting, specials)


def _behind_header(text: str, prompt: str, specials: re.Pattern[str]) -> int | None:
    """Where the header that the prompt ends with ends in `text`; None where it is not there.

    A header begins with a special token, or right behind one.
    """
    starts = [place for token in specials.finditer(prompt) for place in token.span()]
    headers = [prompt[place:] for place in starts if prompt[place:].strip()]
    found = [text.find(header) + len(header) for header in headers if header in text]
    return min(found, default=None)


def _parting(text: str, start: int, prompt: str) -> tuple[int, bool]:
    """How far `text` follows the prompt from `start` on, and whether it follows all of it.

    Indentation and blank lines may differ: some templates lay out the prompt with other ones.
    """
    shared = common_prefix(text[start:], prompt)
    place, left = start + shared, prompt[shared:]
    while left:
        blank = len(left) - len(left.lstrip())
        word = left[blank:][:1]
        after = place
        while text[after : after + 1].isspace():
            after += 1
        if not word:
            return place + common_prefix(text[place:], left), True
        if text[after : after + 1] != word:
            return place, False
        place, left = after + 1, left[blank + 1 :]
    return place, True


def _border(text: str, lowest: int, position: int, specials: re.Pattern[str]) -> int:
    """The last place up to `position`, not before `lowest`, behind a line, a mark or a token."""
    position = token_start(text, position, specials)
    while position > lowest and text[position - 1] not in "\n>]":
        position -= 1
    return max(position, lowest)


def answer_end(
    text: str, region: Region, limit: int, is_last: bool, ends: Ends
) -> tuple[int, bool]:
    """Where a learned answer ends, and whether a special token ends it."""
    tail = text[region.end : limit]
    of_template = token = ends.turn.last if is_last else ends.turn.middle
    at = tail.find(token) if token else -1
    if at < 0 and ends.eos and is_last:
        token, at = ends.eos, tail.find(ends.eos)
    if at >= 0:
        end = at + len(token)
        rest = tail[end:].lstrip()
        if is_last and ends.eos and rest.startswith(ends.eos):
            # some end the turn, and the conversation once more
            end = len(tail) - len(rest) + len(ends.eos)
        return region.end + end, True
    if of_template:  # it ends turns with a token; a call of a tool may have one of its own
        tokens = until_opener(ends.specials.findall(tail), ends.turn.openers)
        if tokens and tokens[0] not in ends.turn.openers:
            return region.end + tail.rindex(tokens[-1]) + len(tokens[-1]), True
    written = text[region.start : region.end]
    if any(token.end() == len(written) for token in ends.specials.finditer(written)):
        return region.end, True  # a call of a tool that ends in its own way
    plain = os.path.commonprefix([tail, ends.turn.text]).rstrip()
    return region.end + len(plain), False
