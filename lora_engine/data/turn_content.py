"""What one turn holds: its text, its thoughts and its calls, written plainly or as a list of parts.

Parts that are all text are joined as they stand, with nothing between them, which is what templates
that read parts do. Pictures, sounds and films are refused by the part's type: a text model would
learn the answer to something that it never sees.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lora_engine.data.field_values import (
    InvalidRow,
    is_empty,
    kind_of,
    optional_text,
    shortened,
    text_of,
)
from lora_engine.data.tool_calls import calls_in, tools_in
from lora_engine.data.turn_flags import is_learned
from lora_engine.language import tr

TEXT_PARTS = ("text", "input_text", "output_text")
THOUGHT_PARTS = ("thinking", "reasoning", "thought")
CALL_PARTS = ("tool_call", "tool_calls", "tool_use", "function_call")
THOUGHT_KEYS = (
    "reasoning_content",
    "reasoning",
    "thinking",
    "thoughts",
    "thought",
    "reasoning_text",
)


@dataclass
class TurnContent:
    """A turn's text, thoughts and calls, and the tools that a part of it offers."""

    text: str = ""
    reasoning: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    tools: list[Any] = field(default_factory=list)


def content_of(value: Any, where: str) -> TurnContent:
    """The content of a turn. Raises InvalidRow where it is neither text nor parts of text."""
    if isinstance(value, dict) and "type" in value:
        value = [value]
    if not isinstance(value, list):
        return TurnContent(text_of(value, where))
    if not value:
        raise InvalidRow(tr("{where} is a list without parts, text is needed", where=where))
    content = TurnContent()
    for place, part in enumerate(value, start=1):
        _add_part(content, part, tr("{where}, part {place}", where=where, place=place))
    return content


def thoughts_of(fields: dict, where: str) -> str:
    """The thoughts that stand beside an answer, under whichever of `THOUGHT_KEYS`.

    Raises InvalidRow for two that differ, and for thoughts that are no text.
    """
    found = {}
    for key in THOUGHT_KEYS:
        if not is_empty(fields.get(key)):
            value = fields[key]
            parts = content_of(value, f"{where}'s {key}") if isinstance(value, list) else None
            text = parts.text + parts.reasoning if parts else text_of(value, f"{where}'s {key}")
            found[key] = text
    if len(set(found.values())) > 1:
        raise InvalidRow(
            tr("{where} has different thoughts in {found}", where=where, found=" and ".join(found))
        )
    return next(iter(found.values()), "")


def _add_part(content: TurnContent, part: Any, where: str) -> None:
    if isinstance(part, str):
        content.text += text_of(part, where)
        return
    if not isinstance(part, dict):
        raise InvalidRow(
            tr(
                "{where} is {kind_of}, an object with a type is needed",
                where=where,
                kind_of=kind_of(part),
            )
        )
    if is_learned(part, where) is False:
        raise InvalidRow(
            tr("{where} is not to be learned; only whole turns can be left unlearned", where=where)
        )
    kind = part.get("type", "text" if "text" in part else None)
    name = kind if isinstance(kind, str) else ""
    thought_name = name.removesuffix(".text")  # OpenRouter's reasoning_details: reasoning.text
    if name in TEXT_PARTS:
        content.text += _text_in(part, ("text", "value", "content"), where)
    elif thought_name in THOUGHT_PARTS:
        content.reasoning += _text_in(part, (thought_name, "text", "value", "content"), where)
    elif name in CALL_PARTS:
        keys = (name, "value", "content", "text")
        content.calls += calls_in(next((part[k] for k in keys if part.get(k)), part), where)
    elif name == "tools":
        keys = (name, "value", "content", "text")
        content.tools += tools_in(next((part[k] for k in keys if part.get(k)), None), where)
    else:
        raise InvalidRow(
            tr(
                "{where} has the type {shortened}; only text, thoughts (thinking, reasoning) "
                "and calls of tools are read",
                where=where,
                shortened=shortened(kind),
            )
        )


def _text_in(part: dict, keys: tuple[str, ...], where: str) -> str:
    """The text of a part: the first of these keys that holds something."""
    found = next((part[key] for key in keys if part.get(key) is not None), None)
    if isinstance(found, list):  # a thought that is a list of text parts (Mistral)
        return content_of(found, where).text if found else ""
    return optional_text(found, where)
