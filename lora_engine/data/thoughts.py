"""The thoughts before an answer: learned, kept in the text without being learned, or stripped.

Thoughts stand beside an answer (`Message.reasoning`) or in its text, between marks such as <think>
and </think>. The mark that opens them may be missing: some templates write it as the prompt. This
module knows nothing of files or tokens.
"""

from __future__ import annotations

import re
from dataclasses import replace

from lora_engine.data.field_values import InvalidRow
from lora_engine.data.rows import Message, Row
from lora_engine.language import tr

MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("[THINK]", "[/THINK]"),
)
_CLOSING = re.compile(r"\s*(?:</?[^<>\s]{1,30}>|\[/?[A-Z]{1,20}\])?\s*")


def split_thoughts(content: str) -> tuple[list[str], str]:
    """The thoughts in an answer's text without their marks, and the text without them."""
    thoughts = []
    for opening, closing in MARKS:
        while closing in content:
            head, _, tail = content.partition(closing)
            before, mark, thought = head.partition(opening)
            thoughts.append(thought if mark else head)
            content = (before if mark else "") + tail.lstrip()
    return thoughts, content


def apply_setting(row: Row, setting: str) -> Row:
    """The row with its thoughts as `dataset.reasoning` says: learn, keep or strip.

    Raises InvalidRow where thoughts that are not to be learned never end.
    """
    if setting == "learn" or not row.messages:
        return row
    return replace(row, messages=tuple(_set(turn, setting) for turn in row.messages))


def start_of_answer(text: str, start: int, end: int, turn: Message) -> int:
    """Where, in the rendered span [start, end) of a turn, the thoughts end and the answer begins.

    `start` itself where the template writes none of the thoughts.
    """
    inside, answer = split_thoughts(turn.content)
    after = start
    for thought in (turn.reasoning, *inside):
        place = text.find(thought.strip(), after, end) if thought.strip() else -1
        if place >= 0:
            after = place + len(thought.strip())
    if after == start:
        return start
    place = text.find(answer.strip(), after, end) if answer.strip() else -1
    if place >= 0:
        return place
    closing = _CLOSING.match(text, after, end)
    return closing.end() if closing else after


def has_thoughts(turn: Message) -> bool:
    """Whether a turn of the assistant's has thoughts, beside its text or in it."""
    return turn.role == "assistant" and bool(turn.reasoning or split_thoughts(turn.content)[0])


def mark_opened_by(prompt: str) -> str:
    """The mark at the end of a prompt that leaves thoughts open, such as <think>; empty without."""
    ending = prompt.rstrip()
    return next((opening for opening, _ in MARKS if ending.endswith(opening)), "")


def _set(turn: Message, setting: str) -> Message:
    if turn.role != "assistant":
        return turn
    inside, answer = split_thoughts(turn.content)
    unended = next((mark for mark, _ in MARKS if answer.lstrip().startswith(mark)), None)
    if unended:
        raise InvalidRow(
            tr("an answer begins with {unended} and the thoughts never end", unended=unended)
        )
    if not inside and not turn.reasoning:
        return turn
    if setting == "strip":
        return replace(turn, reasoning="", content=answer)
    return replace(turn, is_reasoning_learned=False)
