"""Rows that compare two answers, or judge one: from their columns to turns.

preference   chosen and rejected, and what was asked: in a column of its own, or in both of them
kto          any chat, and a column that says of its answer whether it is good

Where no column holds the question it is what both conversations have in common at their beginning,
as in TRL (an implicit prompt). Texts in the manner of Anthropic's HH-RLHF are split into turns. The
loss is on the answer alone. Knows nothing of files or templates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from lora_engine.data.chat_rows import ParsedChat, parse_chat
from lora_engine.data.field_values import InvalidRow, is_empty, kind_of, optional_text, shortened
from lora_engine.data.preferences import verdict_of
from lora_engine.data.rows import Message, Row
from lora_engine.language import tr

SIDES = ("chosen", "rejected")
_MARK = re.compile(r"(?:^|\n\n)(Human|Assistant):[ \t]?")
_MARKED = re.compile(r"\s*Human:")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def parse_pair(number: int, fields: dict[str, Any]) -> ParsedChat:
    """A row with a chosen and a rejected answer. Raises InvalidRow naming the column.

    fields: chosen, rejected and, where they are, prompt and input; what else chats have besides.
    """
    rest = {k: value for k, value in fields.items() if k not in (*SIDES, "prompt", "input")}
    prompt = _question(fields)
    sides = [_side(number, {**rest, side: fields[side]}, side, prompt) for side in SIDES]
    chosen, rejected = (side.row.messages for side in sides)
    if is_empty(prompt):
        shared = _shared_turns(chosen, rejected)
        if not any(turn.role == "user" for turn in chosen[:shared]):
            _refuse_two_questions(chosen, rejected)
        chosen, rejected = (_only_after(shared, turns) for turns in (chosen, rejected))
    for side, turns in zip(SIDES, (chosen, rejected), strict=True):
        _refuse_without_answer(turns, side)
    row = replace(sides[0].row, messages=chosen, rejected=rejected)
    return ParsedChat(
        row, sides[0].unread | sides[1].unread, sides[0].unlearned | sides[1].unlearned
    )


def parse_judged(number: int, fields: dict[str, Any], format: str, verdict: str) -> ParsedChat:
    """A chat and what its column `verdict` says of the last answer. Raises InvalidRow.

    format: of the chat, as `chat_rows.parse_chat` reads it.
    """
    said = verdict_of(fields[verdict])
    if said is None:
        raise InvalidRow(
            tr(
                "column {verdict} is {kind_of}; true or false is needed",
                verdict=f"{verdict!r}",
                kind_of=kind_of(fields[verdict]),
            )
        )
    chat = parse_chat(number, fields, format)
    turns = chat.row.messages
    _refuse_without_answer(turns, "the answer")
    row = replace(chat.row, messages=_only_after(len(turns) - 1, turns), is_desirable=said)
    return ParsedChat(row, chat.unread, chat.unlearned)


def on_both_sides(row: Row, change: Callable[[Row], Row]) -> Row:
    """The row changed, and its rejected turns by the same rule."""
    changed = change(row)
    if not row.rejected:
        return changed
    return replace(changed, rejected=change(rejected_side(row)).messages)


def rejected_side(row: Row) -> Row:
    """The row with its rejected answer in place of the chosen one."""
    return replace(row, messages=row.rejected, rejected=())


def _side(number: int, fields: dict[str, Any], side: str, prompt: Any) -> ParsedChat:
    """The question and one of the answers, as a chat."""
    rest = {name: value for name, value in fields.items() if name != side}
    answer = fields[side]
    try:
        if not is_empty(prompt):
            columns = {**rest, "prompt": prompt, "completion": answer}
            return parse_chat(number, columns, "prompt_completion")
        turns = _dialogue(answer)
        if isinstance(turns, str):
            raise InvalidRow(
                tr(
                    "the question is missing: no column holds it, and the answer is one text "
                    "without 'Human:' and 'Assistant:'"
                )
            )
        return parse_chat(number, {**rest, "messages": turns}, "messages")
    except InvalidRow as problem:
        raise InvalidRow(
            tr("column {side}: {problem}", side=f"{side!r}", problem=problem)
        ) from None


def _question(fields: dict[str, Any]) -> Any:
    """What is asked: a text or turns; an instruction with what it is about; None without any."""
    prompt = _dialogue(fields.get("prompt"))
    about = optional_text(fields.get("input"), "input") if isinstance(prompt, str) else ""
    return f"{prompt}\n\n{about}" if about else prompt


def _dialogue(value: Any) -> Any:
    """The turns of a text in HH-RLHF's manner; anything else as it is.

    A mark of the assistant's that ends a question says only that the answer comes next.
    """
    if not isinstance(value, str) or not _MARKED.match(value):
        return value
    parts = _MARK.split(value.strip())
    turns = [
        {"role": _ROLES[name], "content": text.strip()}
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    ]
    if turns and turns[-1] == {"role": "assistant", "content": ""}:
        turns.pop()
    return turns


def _shared_turns(chosen: Sequence[Message], rejected: Sequence[Message]) -> int:
    """How many turns both begin with; each keeps one of its own."""
    most = min(len(chosen), len(rejected)) - 1
    pairs = list(zip(chosen[:most], rejected[:most], strict=True))
    differs = (at for at, (a, b) in enumerate(pairs) if (a.role, a.content) != (b.role, b.content))
    return next(differs, len(pairs))


def _refuse_two_questions(*sides: Sequence[Message]) -> None:
    """Raises InvalidRow where both conversations begin with a question, each with another."""
    asked = [[turn.content.strip() for turn in turns if turn.role == "user"][:1] for turns in sides]
    if all(asked) and asked[0] != asked[1]:
        raise InvalidRow(
            tr(
                "chosen and rejected answer different questions ({shortened}, "
                "{shortened_2}); one question is needed",
                shortened=f"{shortened(asked[0][0])!r}",
                shortened_2=f"{shortened(asked[1][0])!r}",
            )
        )


def _only_after(place: int, turns: Sequence[Message]) -> tuple[Message, ...]:
    """The turns, of which those before `place` are not learned."""
    return tuple(
        replace(turn, is_learned=False) if at < place and turn.role == "assistant" else turn
        for at, turn in enumerate(turns)
    )


def _refuse_without_answer(turns: Sequence[Message], what: str) -> None:
    if not turns or turns[-1].role != "assistant":
        last = turns[-1].role if turns else "nothing"
        raise InvalidRow(
            tr(
                "{what} ends with {last}; an answer of the assistant's is needed",
                what=what,
                last=last,
            )
        )
    if not turns[-1].is_learned:
        raise InvalidRow(
            tr(
                "{what} has no answer of its own after the question, or one that is not to "
                "be learned (weight, loss_weight or loss 0, train false, masked)",
                what=what,
            )
        )
    if not any(turn.role == "user" for turn in turns[:-1]):
        raise InvalidRow(
            tr("{what} answers nothing: no turn of a user stands before it", what=what)
        )
