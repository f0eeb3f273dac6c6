"""How a template lays out a sequence of roles, learned from renderings with marked texts.

A marker stands in place of every text. What lies between the markers are the template's own
pieces; they depend on the roles (and the tools) alone, so rows of one shape share a layout. What
ends an answer is learned in the same way, once for a template. The rows' texts are unknown here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lora_engine.data.rows import Message
from lora_engine.data.templates import Conversation

_MARKER = re.compile("\ue0f0([0-9]+)\ue0f1")
USER, ANSWER = "user", "assistant"


@dataclass(frozen=True)
class Shape:
    """What a layout depends on: the roles in order, and the tools (JSON) the template is given."""

    roles: tuple[str, ...]
    tools: str


@dataclass(frozen=True)
class Layout:
    """How a template lays out one shape.

    slots: for each text in order of appearance, the template's own piece before it and the
        index of the message.
    closing: the piece after the last text.
    prompts: by the index of an answer, what the model is given between the text before it and
        the answer itself. An answer that nothing stands before has none.
    """

    slots: tuple[tuple[str, int], ...]
    closing: str
    prompts: Mapping[int, str]


@dataclass(frozen=True)
class TurnEnd:
    """What ends an answer of a plain conversation.

    last, middle: the special token that ends the last answer, and one that another turn follows;
        empty where the template writes none.
    text: how both endings begin, for templates that end an answer with plain text.
    openers: the tokens that open turns.
    """

    last: str
    middle: str
    text: str
    openers: frozenset[str]


def marked(role: str, index: int) -> Message:
    """A turn with a marker in place of its text."""
    return Message(role, f"\ue0f0{index}\ue0f1")


def split_at_markers(text: str) -> tuple[list[str], list[int]]:
    """The pieces around the markers, one more than markers; and the markers' numbers."""
    parts = _MARKER.split(text)
    return parts[0::2], [int(index) for index in parts[1::2]]


def layout_questions(shape: Shape, row: int) -> list[Conversation]:
    """The conversations that tell a shape's layout: whole, and up to each answer."""
    turns = tuple(marked(role, index) for index, role in enumerate(shape.roles))
    asked = [Conversation(row, turns, tools=shape.tools, may_fail=True)]
    for index in _answers_asked_for(shape):
        asked.append(Conversation(row, turns[:index], True, shape.tools, may_fail=True))
    return asked


def layout_of(shape: Shape, texts: Sequence[str]) -> Layout:
    """The layout in the answers to `layout_questions`; without slots where they failed."""
    pieces, indices = split_at_markers(texts[0])
    slots = tuple(zip(pieces, indices, strict=False))
    prompts = {
        index: prompt_in(text, index - 1)
        for index, text in zip(_answers_asked_for(shape), texts[1:], strict=True)
    }
    return Layout(slots, pieces[-1], prompts)


def prompt_in(text: str, before: int) -> str:
    """What follows the marker of the turn `before` in a rendering that ends with the generation
    prompt; empty where that turn is not the last text."""
    pieces, indices = split_at_markers(text)
    return pieces[-1] if indices[-1:] == [before] else ""


def _answers_asked_for(shape: Shape) -> list[int]:
    return [index for index, role in enumerate(shape.roles) if role == ANSWER and index > 0]


END_QUESTIONS = tuple(
    Conversation(1, tuple(marked(role, i) for i, role in enumerate(roles)), prompt, may_fail=True)
    for roles, prompt in [
        ((USER, ANSWER, USER, ANSWER), False),
        ((USER, ANSWER), False),
        ((USER,), False),
        ((USER,), True),
    ]
)


def turn_end(texts: Sequence[str], specials: re.Pattern[str], eos: str, bos: str) -> TurnEnd:
    """What ends an answer, from the answers to `END_QUESTIONS`.

    What follows an answer is its end and the header of what comes next. The end is what an answer
    before a question and the last answer have in common, up to the token that opens turns: some
    templates write the next generation prompt behind the last answer too.
    """
    two, one, question, prompt = (split_at_markers(text)[0] for text in texts)
    before_next = two[2] if len(two) == 5 else ""
    closing = two[-1] if len(two) == 5 else one[-1] if len(one) == 3 else ""
    openers = _openers(one[0], specials, bos) - {eos}
    middles, lasts = (
        until_opener(specials.findall(piece), openers) for piece in (before_next, closing)
    )
    common = os.path.commonprefix([middles, lasts])
    if common:
        last = middle = common[-1]
    else:
        header = specials.findall(prompt[-1])[-1:]
        user_end = [token for token in specials.findall(question[-1])[:1] if token in middles]
        known = {eos, *user_end} - {""}
        last = next((token for token in lasts if token in known), "") or next(
            (token for token in lasts[:1] if token not in header), ""
        )
        middle = next((token for token in middles if token in known), "")
    plain = [specials.split(piece, 1)[0] for piece in (before_next or closing, closing)]
    shared = os.path.commonprefix(plain).rstrip()
    return TurnEnd(str(last), str(middle), shared, frozenset(openers))


def specials_pattern(special_tokens: Sequence[str]) -> re.Pattern[str]:
    """Matches the special tokens, longest first; a token of white space alone ends no turn."""
    tokens = sorted((token for token in special_tokens if token.strip()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, tokens)) or "(?!)")


def _openers(first_piece: str, specials: re.Pattern[str], bos: str) -> set[str]:
    """The tokens that open turns: the first and the last before a conversation's first text.

    Between them may lie a whole system turn of the template's own.
    """
    found = [token for token in specials.findall(first_piece) if token != bos]
    return {*found[:1], *found[-1:]}


def until_opener(tokens: list[str], openers: Collection[str]) -> list[str]:
    """The tokens before the first that opens a turn; the very first may do both."""
    for position, token in enumerate(tokens[1:], start=1):
        if token in openers:
            return tokens[:position]
    return tokens
