"""A list of turns as messages: roles, texts, thoughts, calls of tools, and which are learned.

A turn is `{role, content}` or `{from, value}`. What it says besides is honoured, refused, or given
back as keys that are not read; nothing is dropped unseen. Knows nothing of columns or templates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from lora_engine.data.field_values import (
    InvalidRow,
    as_json,
    is_empty,
    json_of,
    keys_of,
    kind_of,
    shortened,
)
from lora_engine.data.rows import Message
from lora_engine.data.thoughts import split_thoughts
from lora_engine.data.tool_calls import calls_in, tools_in
from lora_engine.data.turn_content import THOUGHT_KEYS, TurnContent, content_of, thoughts_of
from lora_engine.data.turn_flags import FLAG_KEYS, is_learned
from lora_engine.language import tr

CALL = "call"  # a turn whose whole text is a call of a tool, as in ShareGPT files with tools
ROLE_NAMES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "input": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "ai": "assistant",
    "output": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "function_response": "tool",
    "function_call": CALL,
    "tool_call": CALL,
}
ROLE_KEYS = ("role", "from")
CONTENT_KEYS = ("content", "value")
TEMPLATE_KEYS = ("name", "tool_call_id")
# Keys of a turn that change what it says, and that nothing here can honour.
REFUSED_KEYS = frozenset(
    (
        "image",
        "images",
        "image_url",
        "audio",
        "audios",
        "video",
        "videos",
        "files",
        "attachments",
        "refusal",
        "prefix",
    )
)


_READ_KEYS = frozenset(
    ("tool_calls", "function_call", "tools", *TEMPLATE_KEYS, *FLAG_KEYS, *THOUGHT_KEYS)
).union(REFUSED_KEYS)
# Keys that say when, where or by whom a turn was written.
HARMLESS = re.compile(
    r"^(.*_)?(id|uuid|index|time|timestamp|date|created_at|updated_at|lang|language|author|source|"
    r"model|hash|position|turn|url|ip|country|metadata|finish_reason|usage|object|status|"
    r"annotations|logprobs)$"
)


@dataclass
class Turns:
    """The messages of a list of turns, with what they say of the row.

    unread: keys of turns that hold something, are not read, and may matter. learned_questions: the
    keys by which turns of others than the assistant ask to be learned, which they never are.
    """

    messages: list[Message] = field(default_factory=list)
    tools: list[Any] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)
    learned_questions: set[str] = field(default_factory=set)


def turns_in(value: Any, column: str) -> Turns:
    """The turns of a list. Raises InvalidRow naming the turn that cannot be read."""
    if isinstance(value, str) and value.lstrip().startswith("["):  # a cell of a table
        value = json_of(value, tr("column {column}", column=f"{column!r}"))
    if not isinstance(value, list):
        raise InvalidRow(
            tr(
                "column {column} is {kind_of}, a list of turns is needed",
                column=f"{column!r}",
                kind_of=kind_of(value),
            )
        )
    if not value:
        raise InvalidRow(tr("column {column} has no turns", column=f"{column!r}"))
    turns = Turns()
    for position, turn in enumerate(value, start=1):
        _add_turn(turns, turn, f"{column}[{position}]")
    return turns


def is_turn(value: Any) -> bool:
    """Whether this is an object with a role and a content, in either spelling."""
    return isinstance(value, dict) and any(key in value for key in ROLE_KEYS)


def _add_turn(turns: Turns, turn: Any, where: str) -> None:
    if not isinstance(turn, dict):
        raise InvalidRow(
            tr("{where} is {kind_of}, an object is needed", where=where, kind_of=kind_of(turn))
        )
    role_key, content_key = _keys(turn, where)
    role = _role(turn[role_key], where)
    for key in REFUSED_KEYS & turn.keys():
        if not is_empty(turn[key]) and turn[key] is not False:
            raise InvalidRow(
                tr(
                    "{where} has {key}, which is not read: only text is",
                    where=where,
                    key=f"{key!r}",
                )
            )
    content = _content(turn, role, content_key, where)
    turns.tools += content.tools + tools_in(turn.get("tools"), f"{where}'s tools")
    said = is_learned(turn, where)
    if said and role not in ("assistant", CALL):
        turns.learned_questions |= FLAG_KEYS.intersection(turn)
    turns.unread |= set(_unread(turn, role_key, content_key))
    name = "assistant" if role == CALL else role
    if name != "assistant":
        turns.unread |= {key for key in THOUGHT_KEYS if not is_empty(turn.get(key))}
    extra = {key: turn[key] for key in TEMPLATE_KEYS if not is_empty(turn.get(key))}
    message = Message(
        role=name,
        content=content.text,
        reasoning=content.reasoning,
        tool_calls=as_json(content.calls, where) if content.calls else "",
        extra=as_json(extra, where) if extra else "",
        is_learned=said is not False or name != "assistant",
    )
    before = turns.messages[-1] if turns.messages else None
    if role == CALL and before is not None and before.role == "assistant":
        turns.messages[-1] = _joined(before, message, content.calls, where)
    else:
        turns.messages.append(message)


def _keys(turn: dict, where: str) -> tuple[str, str]:
    """Under which keys the role and the content stand."""
    role = next((key for key in ROLE_KEYS if not is_empty(turn.get(key))), None)
    role = role or next((key for key in ROLE_KEYS if key in turn), None)
    there = [key for key in CONTENT_KEYS if key in turn]
    content = next((key for key in there if not is_empty(turn[key])), there[0] if there else None)
    if content is None and role and not is_empty(turn.get("tool_calls", turn.get("function_call"))):
        content = CONTENT_KEYS[0]
    if role is None or content is None:
        raise InvalidRow(
            tr(
                "{where} needs role and content (or from and value); it {keys_of}",
                where=where,
                keys_of=keys_of(turn),
            )
        )
    return role, content


def _role(role: Any, where: str) -> str:
    name = role.strip().lower() if isinstance(role, str) else ""
    if name not in ROLE_NAMES:
        raise InvalidRow(
            tr(
                "{where} has the unknown role {shortened}; known: {role_names}",
                where=where,
                shortened=shortened(role),
                role_names=", ".join(ROLE_NAMES),
            )
        )
    return ROLE_NAMES[name]


def _content(turn: dict, role: str, content_key: str, where: str) -> TurnContent:
    """The content of a turn, with the thoughts and calls that stand beside it."""
    value = turn.get(content_key)
    thoughts = thoughts_of(turn, where) if role in ("assistant", CALL) else ""
    calls = calls_in(turn.get("tool_calls"), f"{where}'s tool_calls")
    calls += calls_in(turn.get("function_call"), f"{where}'s function_call")
    if calls and role != "assistant":
        raise InvalidRow(
            tr("{where} calls a tool; only a turn of the assistant's can", where=where)
        )
    if role == CALL:
        return _call_content(value, thoughts, where)
    is_missing = is_empty(value) and not isinstance(value, str)
    content = TurnContent() if is_missing and (calls or thoughts) else content_of(value, where)
    if thoughts and content.reasoning and thoughts != content.reasoning:
        raise InvalidRow(
            tr("{where} has different thoughts in its content and beside it", where=where)
        )
    if (content.calls or content.reasoning) and role != "assistant":
        raise InvalidRow(
            tr("{where} thinks or calls a tool; only a turn of the assistant's can", where=where)
        )
    content.reasoning = content.reasoning or thoughts
    content.calls += calls
    return content


def _call_content(value: Any, thoughts: str, where: str) -> TurnContent:
    """The calls that are the whole text of a turn; thoughts may stand before them."""
    found, text = split_thoughts(value) if isinstance(value, str) else ([], value)
    calls = calls_in(text, where)
    if not calls:
        raise InvalidRow(tr("{where} is a call of a tool and is empty", where=where))
    return TurnContent(reasoning=thoughts or "\n".join(found), calls=calls)


def _joined(before: Message, call: Message, calls: list[dict], where: str) -> Message:
    """An answer and the call that follows it, or two calls at once: one turn of the assistant's."""
    if before.is_learned != call.is_learned:
        raise InvalidRow(
            tr("{where} is not learned as the turn before it is, which it belongs to", where=where)
        )
    if before.reasoning and call.reasoning:
        raise InvalidRow(
            tr(
                "{where} and the turn before it, which it belongs to, both have thoughts",
                where=where,
            )
        )
    both = [*(json_of(before.tool_calls, where) if before.tool_calls else []), *calls]
    reasoning = before.reasoning or call.reasoning
    return replace(before, reasoning=reasoning, tool_calls=as_json(both, where))


def _unread(turn: dict, role_key: str, content_key: str) -> Iterable[str]:
    others = turn.keys() - _READ_KEYS - {role_key, content_key}
    return (
        str(key)
        for key in others
        if not is_empty(turn[key]) and not HARMLESS.match(str(key).lower())
    )
