"""What a template leaves out of a turn's text.

White space counts for nothing here, nor do the marks around thoughts: templates lay both out anew.
This module knows nothing of templates; it compares a turn with what was written of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from lora_engine.data.rows import Message
from lora_engine.data.said import said
from lora_engine.data.thoughts import MARKS

_THOUGHT_MARK = re.compile("|".join(re.escape(mark) for pair in MARKS for mark in pair))
SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class LeftOut:
    """A part of a row that the template does not write.

    part: which one, as a warning names it. beginning: of what is lost. is_learned: the loss would
    be on it.
    """

    part: str
    beginning: str
    is_learned: bool = True


def left_out_of(message: Message, written: str, header: str = "") -> Iterator[LeftOut]:
    """What is missing of a turn, given what the template wrote of it, and the header before."""
    lost = _missing_text(message.content, written)
    if lost:
        is_answer = message.role == "assistant"
        part = (
            said("a part of the answer")
            if is_answer
            else said("a part of the {role} turn", role=message.role)
        )
        yield LeftOut(part, _shown(lost), is_answer)
    if message.reasoning and _squeezed(message.reasoning) not in _squeezed(header + written):
        yield LeftOut(said("the thoughts (reasoning_content)"), _shown(message.reasoning))
    for call in parsed(message.tool_calls, []):
        name = called_name(call)
        if name not in header + written:
            yield LeftOut(said("the tool_calls"), _shown(name))


def is_shortened(content: str, written: str) -> bool:
    """Whether `written` is the content with one part taken out, and nothing else changed."""
    whole, left = _squeezed(content), _squeezed(written)
    kept = 0
    while kept < len(left) and whole[: kept + 1] == left[: kept + 1]:
        kept += 1
    return whole.endswith(left[kept:])


def parsed(document: str, otherwise):
    """A JSON document of a row; `otherwise` where it is empty."""
    return json.loads(document) if document else otherwise


def called_name(call: object) -> str:
    """The name of the function that a tool call (or a tool) names; empty where it names none."""
    function = call.get("function", call) if isinstance(call, dict) else {}
    name = function.get("name") if isinstance(function, dict) else ""
    return name if isinstance(name, str) else ""


def _missing_text(content: str, written: str) -> str:
    """The content from the first part on that `written` lacks; empty where it has all."""
    if content.strip() in written or json.dumps(content, ensure_ascii=False)[1:-1] in written:
        return ""
    squeezed, cursor = _squeezed(written), 0
    for start, end, shown_from in _chunks(content):
        chunk = _squeezed(content[start:end])
        at = squeezed.find(chunk, cursor)
        if at < 0:
            return content[shown_from:]
        cursor = at + len(chunk)
    return ""


def _chunks(content: str) -> Iterator[tuple[int, int, int]]:
    """The texts between the marks of thoughts: start, end, and the start with the mark before."""
    start = shown_from = 0
    for tag in _THOUGHT_MARK.finditer(content):
        yield start, tag.start(), shown_from
        start, shown_from = tag.end(), tag.start()
    yield start, len(content), shown_from


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _shown(text: str) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= SHOWN_CHARACTERS else shown[: SHOWN_CHARACTERS - 4] + " ..."
