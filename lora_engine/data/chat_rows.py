"""A row in one of the chat formats, from its columns: system text, turns, tools, thoughts.

The columns are under the format's own names here. Knows nothing of the file or of templates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lora_engine.data.field_values import (
    InvalidRow,
    as_json,
    is_empty,
    kind_of,
    optional_text,
    text_of,
)
from lora_engine.data.rows import Message, Row
from lora_engine.data.tool_calls import tools_in
from lora_engine.data.turn_content import content_of, thoughts_of
from lora_engine.data.turns import Turns, is_turn, turns_in
from lora_engine.language import tr

SYSTEMS = ("system", "system_prompt", "system_message")
TOOLS = ("tools", "functions")
HISTORY = "history"


@dataclass(frozen=True)
class ParsedChat:
    """A row, the keys of its turns that are not read, and those that ask to learn a question."""

    row: Row
    unread: frozenset[str] = frozenset()
    unlearned: frozenset[str] = frozenset()


def parse_chat(number: int, fields: dict[str, Any], format: str) -> ParsedChat:
    """One row of a chat format. Raises InvalidRow naming the column or the turn."""
    turns = _turns(fields, format)
    messages = _with_system(turns.messages, _system(fields))
    tools = [tool for column in TOOLS for tool in tools_in(fields.get(column), column)]
    tools += [tool for tool in turns.tools if tool not in tools]
    row = Row(number, tuple(messages), None, tools=as_json(tools, "tools") if tools else "")
    return ParsedChat(row, frozenset(turns.unread), frozenset(turns.learned_questions))


def with_learned_turns(row: Row, setting: str) -> Row:
    """The row as `dataset.turns` says: all answers learned, or of those only the last one."""
    learned = [place for place, turn in enumerate(row.messages) if _is_learned_answer(turn)]
    if setting == "all" or len(learned) < 2:
        return row
    messages = tuple(
        replace(turn, is_learned=place == learned[-1]) if place in learned else turn
        for place, turn in enumerate(row.messages)
    )
    return replace(row, messages=messages)


def _is_learned_answer(turn: Message) -> bool:
    return turn.role == "assistant" and turn.is_learned


def _turns(fields: dict[str, Any], format: str) -> Turns:
    if format == "messages":
        return turns_in(fields["messages"], "messages")
    if format == "sharegpt":
        return turns_in(fields["conversations"], "conversations")
    if format == "prompt_completion":
        return _with_thoughts(_prompt_and_completion(fields), fields)
    question = text_of(fields["instruction"], "instruction")
    extra = optional_text(fields.get("input"), "input")
    if extra:
        question = f"{question}\n\n{extra}"
    answer = Message("assistant", text_of(fields["output"], "output"))
    turns = Turns([*_history(fields.get(HISTORY)), Message("user", question), answer])
    return _with_thoughts(turns, fields)


def _prompt_and_completion(fields: dict[str, Any]) -> Turns:
    """Texts or turns. The loss is on the completion alone: turns of the prompt are not learned.

    A completion that is a whole conversation may repeat the prompt at its beginning.
    """
    asked = _side(fields["prompt"], "prompt", "user")
    answered = _side(fields["completion"], "completion", "assistant")
    question = [replace(turn, is_learned=turn.role != "assistant") for turn in asked.messages]
    answer = answered.messages
    if [(t.role, t.content) for t in answer[: len(question)]] == [
        (t.role, t.content) for t in question
    ]:
        answer = answer[len(question) :]
    return Turns(
        [*question, *answer],
        asked.tools + answered.tools,
        asked.unread | answered.unread,
        asked.learned_questions | answered.learned_questions,
    )


def _side(value: Any, column: str, role: str) -> Turns:
    """A prompt or a completion: a text of this role, one turn, or a list of turns."""
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        value = value["messages"]
    if is_turn(value):
        value = [value]
    if isinstance(value, list) and value and all(map(is_turn, value)):
        return turns_in(value, column)
    return Turns([Message(role, text_of(value, column))])


def _with_thoughts(turns: Turns, fields: dict[str, Any]) -> Turns:
    """The turns with thoughts that stand in a column of their own before the last answer."""
    thoughts = thoughts_of(fields, tr("the row"))
    last = turns.messages[-1]
    if thoughts and last.role == "assistant":
        if last.reasoning and last.reasoning != thoughts:
            raise InvalidRow(tr("the row has different thoughts in its answer and beside it"))
        turns.messages[-1] = replace(last, reasoning=thoughts)
    return turns


def _system(fields: dict[str, Any]) -> str:
    """The system text beside the turns. Raises InvalidRow where two columns differ."""
    found = {
        column: content_of(fields[column], column).text
        for column in SYSTEMS
        if not is_empty(fields.get(column))
    }
    if len(set(found.values())) > 1:
        raise InvalidRow(tr("different system texts in {found}", found=" and ".join(found)))
    return next(iter(found.values()), "")


def _with_system(messages: list[Message], system: str) -> list[Message]:
    """The messages with the system text first, once. Raises InvalidRow for two that differ."""
    if not system:
        return messages
    first = messages[0]
    if first.role != "system" or not first.content.strip():
        return [Message("system", system), *(messages[1:] if first.role == "system" else messages)]
    if first.content.strip() != system.strip():
        raise InvalidRow(
            tr(
                "a system text in its own column and a different one in the first turn; one "
                "is needed"
            )
        )
    return messages


def _history(value: Any) -> list[Message]:
    """Alpaca's earlier turns: a list of [question, answer] pairs."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRow(
            tr("column 'history' is {kind_of}, a list of pairs is needed", kind_of=kind_of(value))
        )
    messages = []
    for position, pair in enumerate(value, start=1):
        where = f"history[{position}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise InvalidRow(
                tr(
                    "{where} is {kind_of}, a pair of texts is needed",
                    where=where,
                    kind_of=kind_of(pair),
                )
            )
        messages += [
            Message("user", text_of(pair[0], where)),
            Message("assistant", text_of(pair[1], where)),
        ]
    return messages
