"""Which characters of a rendered conversation the loss is on: all of the assistant's turns.

Templates rarely mark the answers, so they are found from the rendering itself:

1. Render the same roles once with a marker in place of every text. What lies between the markers
   are the template's own pieces; they depend on the roles alone.
2. Render the same up to the last answer with the generation prompt. What follows the last marker
   is what the model is given before it writes, so an answer starts right after that, even where
   the template writes more before the text (a space, an empty thought).
3. The last piece ends an answer (`<|im_end|>`, `</s>`). As far as the piece after another answer
   begins in the same way, it ends that one too. The answer goes up to the last special token in
   there, so the model learns to stop; the line break behind it is not learned.
4. Walk along the real rendering, piece by piece and text by text.

A template that ends an answer with no special token gets the tokenizer's end token after the
last answer. This module knows nothing of tokens but the names of the special ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lora_engine.data.rows import Message, Row
from lora_engine.data.templates import ChatTemplate, Conversation, render
from lora_engine.errors import EngineError

_MARKER = re.compile("\ue0f0([0-9]+)\ue0f1")


@dataclass(frozen=True)
class SupervisedText:
    """A row as the model sees it: its text, and the spans [start, end) the loss is on."""

    number: int
    text: str
    spans: tuple[tuple[int, int], ...]
    ends_with_token: bool


@dataclass(frozen=True)
class _Layout:
    """How a template lays out one sequence of roles.

    slots: for each text in order of appearance, the template's own piece before it and the
        index of the message.
    closing: the piece after the last text.
    prompt: what the model is given between the text before an answer and the answer; empty
        where there is no text before it.
    """

    slots: tuple[tuple[str, int], ...]
    closing: str
    prompt: str


def supervised_texts(
    template: ChatTemplate, rows: Sequence[Row], special_tokens: Sequence[str], end_token: str
) -> list[SupervisedText]:
    """Each row rendered, with the spans of its answers; no spans where a row has no answer.

    Turns after a row's last answer are left out: nothing supervised can depend on them.
    end_token: appended where the template ends answers with no special token; may be empty.
    Raises EngineError naming the row where the template fails on it.
    """
    answered = [_up_to_last_answer(row.messages) for row in rows]
    asked = [index for index, messages in enumerate(answered) if messages]
    row_with_roles = {_roles(answered[i]): rows[i].number for i in reversed(asked)}
    texts = render(
        template,
        [Conversation(rows[i].number, answered[i]) for i in asked] + _questions(row_with_roles),
    )
    layouts = dict(zip(row_with_roles, _layouts(texts[len(asked) :]), strict=True))
    found = [SupervisedText(row.number, "", (), True) for row in rows]
    specials = re.compile("|".join(re.escape(token) for token in special_tokens if token) or "(?!)")
    for index, text in zip(asked, texts, strict=False):
        messages, number = answered[index], rows[index].number
        spans, complete = _spans(text, messages, layouts[_roles(messages)], specials, number)
        if spans and not complete:
            text = text[: spans[-1][1]] + end_token
            spans[-1] = (spans[-1][0], len(text))
        found[index] = SupervisedText(number, text, tuple(spans), complete)
    return found


def _up_to_last_answer(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    answers = [index for index, message in enumerate(messages) if message.role == "assistant"]
    return messages[: answers[-1] + 1] if answers else ()


def _roles(messages: Sequence[Message]) -> tuple[str, ...]:
    return tuple(message.role for message in messages)


def _questions(row_with_roles: dict[tuple[str, ...], int]) -> list[Conversation]:
    """Two marked conversations for each sequence of roles: whole, and up to the last answer.

    A lone answer has nothing before it, and is asked for whole twice.
    """
    asked = []
    for roles, number in row_with_roles.items():
        marked = tuple(Message(role, f"\ue0f0{index}\ue0f1") for index, role in enumerate(roles))
        asked.append(Conversation(number, marked))
        asked.append(Conversation(number, marked[:-1] or marked, bool(marked[:-1])))
    return asked


def _layouts(texts: Sequence[str]) -> list[_Layout]:
    """The layouts in the answers to `_questions`, in pairs."""
    layouts = []
    for whole, asked in zip(texts[0::2], texts[1::2], strict=True):
        parts = _MARKER.split(whole)
        slots = tuple(zip(parts[0:-1:2], (int(index) for index in parts[1::2]), strict=True))
        prompt = _MARKER.split(asked)[-1] if asked != whole else ""
        layouts.append(_Layout(slots, parts[-1], prompt))
    return layouts


def _spans(
    text: str,
    messages: Sequence[Message],
    layout: _Layout,
    specials: re.Pattern[str],
    number: int,
) -> tuple[list[tuple[int, int]], bool]:
    """The answers' spans, and whether the last one ends with a special token."""
    spans, complete = [], True
    cursor = 0
    pieces = [_pieces_before(slot, messages, layout) for slot in layout.slots]
    for position, (_, index) in enumerate(layout.slots):
        message = messages[index]
        before = next((p for p in pieces[position] if text.startswith(p, cursor)), None)
        if before is None:
            raise _cannot_follow(number, index, message)
        is_last = position == len(layout.slots) - 1
        after = (layout.closing,) if is_last else pieces[position + 1]
        has_prompt = layout.prompt and before.startswith(layout.prompt)
        given = layout.prompt if has_prompt else before
        start, cursor = cursor + len(given), cursor + len(before)
        end = _text_end(text, cursor, message.content, after, is_last)
        if end is None and message.role == "assistant":
            end = _next_piece(text, cursor, after, is_last)
        if end is None:
            raise _cannot_follow(number, index, message)
        cursor = end
        if message.role == "assistant":
            tail = os.path.commonprefix([layout.closing, after[0]])
            ends = [match.end() for match in specials.finditer(tail)]
            complete = bool(ends)
            spans.append((start, end + (ends[-1] if ends else len(tail.rstrip()))))
    return spans, complete


def _pieces_before(
    slot: tuple[str, int], messages: Sequence[Message], layout: _Layout
) -> tuple[str, ...]:
    """What the template may write before a text: the piece as laid out; before an answer also
    the bare generation prompt, for templates that write a thought of their own unless the
    answer brings one.
    """
    piece, index = slot
    is_answer = messages[index].role == "assistant"
    return (piece, layout.prompt) if is_answer and layout.prompt else (piece,)


def _text_end(
    text: str, cursor: int, content: str, after: tuple[str, ...], is_last: bool
) -> int | None:
    """Where a message's text ends: as it is or trimmed, with the next piece right after it."""
    for variant in (content, content.strip(), content.lstrip(), content.rstrip()):
        end = cursor + len(variant)
        follows = text[end:] == after[0] if is_last else text.startswith(after, end)
        if follows and text.startswith(variant, cursor):
            return end
    return None


def _next_piece(text: str, cursor: int, after: tuple[str, ...], is_last: bool) -> int | None:
    """Where an answer ends that the template changed (it moved or dropped a thought)."""
    if is_last:
        end = len(text) - len(after[0])
        return end if end >= cursor and text.endswith(after[0]) else None
    end = text.find(after[0], cursor) if after[0] else -1
    return end if end >= 0 else None


def _cannot_follow(number: int, index: int, message: Message) -> EngineError:
    return EngineError(
        f"The model's chat template rewrites row {number} so that the text of turn {index + 1} "
        f"({message.role}) cannot be found in what it writes.",
        "Change that turn's text (markup inside it is the usual cause), or use another base model.",
    )
