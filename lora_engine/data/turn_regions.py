"""Where each turn's text stands in a rendered row.

Most rows are their template's pieces and their own texts, one after another, and are followed piece
by piece. A row that the template treats by what it says (an empty answer left out, thoughts moved,
tool calls) is rendered again with a marker in place of one turn: what both renderings share before
and behind is not that turn's. This module knows special tokens by name, to cut none in two.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lora_engine.data.rows import Message
from lora_engine.data.templates import Conversation
from lora_engine.data.turn_layout import ANSWER, Layout, marked, prompt_in, split_at_markers


@dataclass(frozen=True)
class Region:
    """The text of turn `index` is text[start:end].

    prompt: what the model is given from text[given_from] on before it writes this turn: from the
        end of the text before it, or from the row's beginning. Empty where that is not known.
    limit: the turn, with what closes it, ends here at the latest.
    """

    index: int
    start: int
    end: int
    given_from: int
    prompt: str
    limit: int


def follow(text: str, messages: Sequence[Message], layout: Layout) -> list[Region] | None:
    """The regions in order of appearance; None where the row is not laid out as its shape is."""
    laid_out = {index for _, index in layout.slots}
    needed = {i for i, message in enumerate(messages) if message.role in (ANSWER, "tool")}
    if not needed <= laid_out:
        return None
    regions: list[Region] = []
    cursor = 0
    befores = [_pieces_before(slot, messages, layout) for slot in layout.slots]
    for position, (_, index) in enumerate(layout.slots):
        before = next((p for p in befores[position] if text.startswith(p, cursor)), None)
        if before is None:
            return None
        start = cursor + len(before)
        is_last = position == len(layout.slots) - 1
        after = (layout.closing,) if is_last else befores[position + 1]
        end = _text_end(text, start, messages[index].content, after, is_last)
        if end is None and messages[index].role == ANSWER:
            following = None if is_last else messages[layout.slots[position + 1][1]]
            end = _next_text(text, start, after, following)
        if end is None:
            return None
        prompt = layout.prompts.get(index, "")
        regions.append(Region(index, start, end, cursor, prompt, len(text)))
        cursor = end
    return regions


def _pieces_before(
    slot: tuple[str, int], messages: Sequence[Message], layout: Layout
) -> tuple[str, ...]:
    """What the template may write before a text: the piece as laid out. Before an answer also the
    bare generation prompt, or as far as both agree, for templates that write a thought of their
    own unless the answer brings one.
    """
    piece, index = slot
    prompt = layout.prompts.get(index, "")
    if messages[index].role != ANSWER or not prompt:
        return (piece,)
    return (piece, prompt, os.path.commonprefix([piece, prompt]))


def _text_end(
    text: str, cursor: int, content: str, after: tuple[str, ...], is_last: bool
) -> int | None:
    """Where a message's text ends: as it is or trimmed, with the next piece right after it."""
    for variant in _variants(content):
        end = cursor + len(variant)
        follows = text[end:] == after[0] if is_last else text.startswith(after, end)
        if follows and text.startswith(variant, cursor):
            return end
    return None


def _next_text(
    text: str, cursor: int, after: tuple[str, ...], following: Message | None
) -> int | None:
    """Where an answer ends that is not written as it is: before the next turn's piece and text."""
    if following is None:
        end = len(text) - len(after[0])
        return end if end >= cursor and text.endswith(after[0]) else None
    if following.role == ANSWER:
        needles = [after[0]]
    else:
        needles = [after[0] + variant for variant in _variants(following.content)]
    found = [text.find(needle, cursor) for needle in needles if needle.strip()]
    return min((end for end in found if end >= 0), default=None)


def _variants(content: str) -> tuple[str, ...]:
    return (content, content.strip(), content.lstrip(), content.rstrip())


def region_questions(messages: Sequence[Message], row: int, tools: str) -> list[Conversation]:
    """The row with one turn marked, for each turn: an answer that calls tools without and with
    calls. Then the row up to each such answer. Then what each answer is asked with, as it is and
    with the turn before it marked."""
    asked = []
    for index, message in enumerate(messages):
        for other in _marked_turns(message, index):
            turns = (*messages[:index], other, *messages[index + 1 :])
            asked.append(Conversation(row, turns, tools=tools, may_fail=True))
    for index in _calling_turns(messages):
        asked.append(Conversation(row, tuple(messages[: index + 1]), tools=tools, may_fail=True))
    for index in _answers_after_a_turn(messages):
        before = replace(messages[index - 1], content=marked("", index - 1).content)
        for last in (messages[index - 1], before):
            turns = (*messages[: index - 1], last)
            asked.append(Conversation(row, turns, True, tools, may_fail=True))
    return asked


def regions_from(
    text: str, messages: Sequence[Message], answers: Sequence[str], specials: re.Pattern[str]
) -> dict[int, Region]:
    """By index, the regions in the answers to `region_questions`; a turn that the template leaves
    out, or whose place it does not tell, has none."""
    given = iter(answers)
    found = {}
    for index, message in enumerate(messages):
        tried = [
            _between(text, next(given), index, specials) for _ in _marked_turns(message, index)
        ]
        places = [place for place in tried if place is not None]
        if places:  # an answer begins where it differs from either rendering
            found[index] = min(start for start, _ in places), min(end for _, end in places)
    limits = {}
    for index in _calling_turns(messages):
        limit = token_start(text, common_prefix(text, next(given)), specials)
        if index in found and limit > found[index][0]:
            limits[index] = limit
            found[index] = (found[index][0], min(found[index][1], limit))
    prompts = {i: (next(given), next(given)) for i in _answers_after_a_turn(messages)}
    regions = {}
    for index, (start, end) in found.items():
        before = found.get(index - 1)
        given_from, prompt = start, ""
        if index in prompts:
            whole, last_marked = prompts[index]
            shared = common_prefix(text, whole)
            if shared == len(whole) or (before and shared >= before[1]):
                given_from, prompt = 0, whole
            elif before:
                given_from, prompt = before[1], prompt_in(last_marked, index - 1)
        limit = limits.get(index, len(text))
        regions[index] = Region(index, start, end, given_from, prompt, limit)
    return regions


def _marked_turns(message: Message, index: int) -> list[Message]:
    plain = marked(message.role, index)
    if message.role != ANSWER:
        return [replace(message, content=plain.content)]
    if not message.tool_calls:
        return [plain]
    calls = [_marked_call(call, plain.content) for call in json.loads(message.tool_calls)]
    return [
        plain,
        replace(message, content=plain.content, reasoning="", tool_calls=json.dumps(calls)),
    ]


def _marked_call(call: dict[str, Any], mark: str) -> dict[str, Any]:
    """The call with other arguments; its id and name are kept, for results go by them.

    Without arguments, it is a call of another function.
    """
    if "function" in call:
        return {**call, "function": _marked_call(call["function"], mark)}
    has_arguments = call.get("arguments") not in (None, "", "{}", {})
    return {**call, **({"arguments": {mark: mark}} if has_arguments else {"name": mark})}


def _calling_turns(messages: Sequence[Message]) -> list[int]:
    return [index for index, message in enumerate(messages) if message.tool_calls]


def _answers_after_a_turn(messages: Sequence[Message]) -> list[int]:
    return [i for i, message in enumerate(messages) if i and message.role == ANSWER]


def _between(
    text: str, other: str, index: int, specials: re.Pattern[str]
) -> tuple[int, int] | None:
    """What of `text` is not shared with a rendering that has a marker in place of turn `index`.

    A special token that one end would cut in two belongs to what stands there. None where neither
    what opens the turn nor what closes it is there: it is left out.
    """
    pieces, indices = split_at_markers(other)
    if index not in indices:
        return None
    shared_before = common_prefix(text, pieces[0])
    start = token_start(text, shared_before, specials)
    shared_behind = common_suffix(text[start:], pieces[-1])
    end = len(text) - shared_behind
    if start == end and shared_before < len(pieces[0]) and shared_behind < len(pieces[-1]):
        return None
    cut = next((t for t in specials.finditer(text, start) if t.start() < end < t.end()), None)
    return start, cut.end() if cut else end


def token_start(text: str, position: int, specials: re.Pattern[str]) -> int:
    """The start of the special token that `position` lies within, else `position`."""
    for token in specials.finditer(text):
        if token.end() >= position:
            return token.start() if token.start() < position < token.end() else position
    return position


def common_prefix(first: str, second: str) -> int:
    """The number of characters that both begin with."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first.startswith(second[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low


def common_suffix(first: str, second: str) -> int:
    """The number of characters that both end with."""
    return common_prefix(first[::-1], second[::-1])
