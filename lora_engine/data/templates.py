"""Rendering conversations with a model's chat template, safely; and the template of a bare model.

Rendering happens in a guarded process with bounds on time, memory and output.
Where a template is found is `lora_engine.chat_template`'s; tokens are unknown here. A turn's
thoughts are given under the name that the template reads, its tool calls and extras as in the row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lora_engine.chat_template import Templates, select_template, templates_of
from lora_engine.data.bundled_templates import (
    DEFAULT_TEMPLATE_NAME,
    bundled_name_of,
    bundled_templates,
)
from lora_engine.data.rows import Message
from lora_engine.errors import EngineError
from lora_engine.guard import OutOfBounds, stream_guarded
from lora_engine.language import tr, translatable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RENDER_CPU_S = 2.0
RENDER_MEMORY_BYTES = 256 * 1024**2
RENDER_CHARACTERS = 1_000_000
RENDER_BATCH = 5_000
JSON_BYTES = 12  # of the longest character there
OWN_TEMPLATE_NAME = translatable("the model's own")
TOO_LARGE = translatable("it needs too much memory")  # as the child says it
# How the child says that the fault is the template's own: no row could mend it.
ITS_OWN_FAULT = ("it is not a template", "it asks for what no template may", TOO_LARGE)


@dataclass(frozen=True)
class ChatTemplate:
    """A template by name, its Jinja source, and the tokenizer's special tokens it may write."""

    name: str
    source: str
    variables: dict[str, str]


@dataclass(frozen=True)
class Conversation:
    """One conversation to render; `row` is the number of its row, for errors.

    tools: JSON, as in a row. may_fail: its text is empty where the template fails on it.
    """

    row: int
    messages: tuple[Message, ...]
    add_generation_prompt: bool = False
    tools: str = ""
    may_fail: bool = False


def default_chat_template() -> str:
    """The Jinja source of `rankscope-default`, given to a base that has no template.

    Headers in plain words, each answer ended by the tokenizer's end token.
    """
    return bundled_templates()[DEFAULT_TEMPLATE_NAME].source


def chat_template_of(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    """The template that rows are rendered with: the tokenizer's, else the default.

    A tokenizer's template that is one of the bundled ones has that one's name.
    Raises EngineError where a model has several and none is called default.
    """
    special = {k: v for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)}
    return named_template(templates_of(tokenizer), special)


def named_template(templates: Templates, variables: dict[str, str]) -> ChatTemplate:
    """The template to use of those a model has, with its special tokens. Raises as
    `chat_template_of`."""
    own = select_template(templates)
    if own:
        return ChatTemplate(bundled_name_of(own) or OWN_TEMPLATE_NAME, own, variables)
    return ChatTemplate(DEFAULT_TEMPLATE_NAME, default_chat_template(), variables)


def render(template: ChatTemplate, conversations: Sequence[Conversation]) -> list[str]:
    """Every conversation as text, in order.

    Raises EngineError naming the row where the template refuses the order of roles, breaks, or
    crosses a bound (2 s of processor time, 256 MB, a million characters).
    """
    texts: list[str] = []
    for start in range(0, len(conversations), RENDER_BATCH):
        texts += _render_batch(template, conversations[start : start + RENDER_BATCH])
    return texts


def _render_batch(template: ChatTemplate, conversations: Sequence[Conversation]) -> list[str]:
    from lora_engine.guarded.template_rendering import rendered

    texts: list[str] = []
    requests = _requests(template, conversations)
    try:
        with closing(
            stream_guarded(
                rendered,
                [template.source, template.variables, requests, RENDER_CHARACTERS],
                seconds=RENDER_CPU_S,
                memory_bytes=RENDER_MEMORY_BYTES,
                output_bytes=(RENDER_CHARACTERS + 1_000) * JSON_BYTES,
                libraries=["jinja2"],
            )
        ) as answers:
            for conversation, answer in zip(conversations, map(json.loads, answers), strict=False):
                if "error" in answer and not conversation.may_fail:
                    raise _failed(conversation, answer["error"])
                texts.append(answer.get("text", ""))
    except OutOfBounds as error:
        raise _failed(conversations[len(texts)], _why_it_ended(error)) from None
    return texts


def _requests(
    template: ChatTemplate, conversations: Sequence[Conversation]
) -> list[dict[str, Any]]:
    """As the guarded process reads them."""
    thoughts = _names_of_thoughts(template.source)
    return [
        {
            "messages": [_turn(message, thoughts) for message in conversation.messages],
            "add_generation_prompt": conversation.add_generation_prompt,
            **({"tools": json.loads(conversation.tools)} if conversation.tools else {}),
        }
        for conversation in conversations
    ]


def _names_of_thoughts(source: str) -> list[str]:
    """The keys of a turn under which the template may look for its thoughts."""
    if "reasoning_content" in source:
        return ["reasoning_content"]
    return ["reasoning_content", *(name for name in ("thinking", "reasoning") if name in source)]


def _turn(message: Message, thoughts: Sequence[str]) -> dict[str, Any]:
    """A turn as the template reads it; tool calls are read in the guarded process."""
    turn: dict[str, Any] = json.loads(message.extra) if message.extra else {}
    turn |= {"role": message.role, "content": message.content}
    if message.reasoning:
        turn |= dict.fromkeys(thoughts, message.reasoning)
    if message.tool_calls:
        turn["tool_calls"] = json.loads(message.tool_calls)
    return turn


def _why_it_ended(error: OutOfBounds) -> str:
    if error.kind in ("time", "memory"):
        return tr(
            "it takes over {render_cpu_s} s of processor time or 256 MB",
            render_cpu_s=f"{RENDER_CPU_S:g}",
        )
    return str(error)


def _failed(conversation: Conversation, why: str) -> EngineError:
    """The error with the remedy of its cause: the tokenizer, the template itself, or the row."""
    lacking = re.search(r"'(\w+_token)' is undefined", why)
    if lacking:
        name = lacking[1]
        return EngineError(
            tr(
                "The model's chat template writes {name}, and the tokenizer has no {name}.",
                name=name,
            ),
            tr(
                'Add "{name}" to tokenizer_config.json in the model\'s folder, with the token '
                "that the model was trained with, or use another base model.",
                name=name,
            ),
        )
    roles = ", ".join(message.role for message in conversation.messages)
    problem = tr(
        "The model's chat template fails on row {row} (roles: {roles}): {why}",
        row=conversation.row,
        roles=roles[:200],
        why=tr(why)[:300],
    )
    if why.startswith(ITS_OWN_FAULT):
        return EngineError(
            problem,
            tr(
                "Mend the chat template in the model's folder (chat_template.jinja, or "
                "chat_template in tokenizer_config.json), or use another base model."
            ),
        )
    return EngineError(
        problem,
        tr(
            "Change the row's roles to an order the template accepts (most want user and "
            "assistant in turn, with at most one system message first), or use another base "
            "model."
        ),
    )
