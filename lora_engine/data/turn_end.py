"""Which tokens end the assistant's turn: what the mask teaches is what generation stops at.

A base may name one end token in its configuration and end turns with another in its chat template.
A model trained on the template writes the template's; so it ends generation as well. A token that
also stands inside an answer, between thoughts and text or between text and a tool call, does not.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lora_engine.data.rows import Message
from lora_engine.data.templates import ChatTemplate, Conversation, chat_template_of, render
from lora_engine.data.turn_layout import (
    ANSWER,
    END_QUESTIONS,
    USER,
    marked,
    specials_pattern,
    split_at_markers,
    turn_end,
)
from lora_engine.errors import EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def stop_tokens(
    tokenizer: PreTrainedTokenizerBase, generation_config: Any = None
) -> frozenset[int]:
    """The ids that end an answer: the generation configuration's, the tokenizer's end token, and
    the special token with which the chat template ends the assistant's turn."""
    configured = getattr(generation_config, "eos_token_id", None)
    ends = configured if isinstance(configured, list) else [configured]
    token = end_of_turn(tokenizer)
    of_template = tokenizer.convert_tokens_to_ids(token) if token else None
    return frozenset(end for end in [*ends, tokenizer.eos_token_id, of_template] if end is not None)


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str:
    """The special token with which the chat template ends the assistant's turn.

    Empty where it ends turns with none, where the token also stands inside an answer, and where
    the template refuses a question with an answer.
    """
    template = chat_template_of(tokenizer)
    tokens = set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab())
    variables = tuple(sorted(template.variables.items()))
    eos = str(tokenizer.eos_token or "")
    return _end_of_turn(template.name, template.source, variables, tuple(sorted(tokens)), eos)


@lru_cache(maxsize=32)
def _end_of_turn(
    name: str,
    source: str,
    variables: tuple[tuple[str, str], ...],
    special_tokens: tuple[str, ...],
    eos: str,
) -> str:
    template = ChatTemplate(name, source, dict(variables))
    inner = _answers_of_several_parts()
    try:
        texts = render(template, [*END_QUESTIONS, *inner])
    except EngineError:  # told where the template is used
        return ""
    bos = template.variables.get("bos_token", "")
    endings = texts[: len(END_QUESTIONS)]
    token = turn_end(endings, specials_pattern(special_tokens), eos, bos).last
    return "" if any(_stands_inside(token, text) for text in texts[len(endings) :]) else token


def _answers_of_several_parts() -> list[Conversation]:
    """A question and an answer of thoughts and text, in both forms, and of text and a call."""
    first, text = marked(ANSWER, 1).content, marked(ANSWER, 2).content
    call = {"type": "function", "id": "call00001", "function": {"name": text, "arguments": {}}}
    answers = [
        Message(ANSWER, text, reasoning=first),
        Message(ANSWER, f"<think>\n{first}\n</think>\n\n{text}"),
        Message(ANSWER, first, tool_calls=json.dumps([call])),
    ]
    return [Conversation(1, (marked(USER, 0), answer), may_fail=True) for answer in answers]


def _stands_inside(token: str, text: str) -> bool:
    """Whether the token stands between the two parts of the answer."""
    pieces, indices = split_at_markers(text)
    return bool(token) and indices == [0, 1, 2] and token in pieces[2]
