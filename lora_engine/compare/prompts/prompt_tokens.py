"""From messages to the token ids that a model continues, with the checks a prompt needs.

A text to continue is read as training reads plain text: as it stands, special tokens and all. In a
chat a message may not contain the tokenizer's special tokens: the model would read them as the end
of a turn or the start of another, so a text could speak in another role.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lora_engine.data.bundled_templates import DEFAULT_TEMPLATE_NAME
from lora_engine.data.plain_text import continuation_tokens
from lora_engine.data.templates import Conversation, chat_template_of, render
from lora_engine.errors import EngineError
from lora_engine.language import tr

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lora_engine.data import Message

MAX_CHARACTERS = 400_000
ROLES = ("system", "user", "assistant")


def encode_prompts(
    conversations: Sequence[Sequence[Message]],
    tokenizer: PreTrainedTokenizerBase,
    limit: int | None,
    template_is_ours: bool,
) -> list[list[int]]:
    """Token ids of each conversation up to where the assistant's next answer begins.

    Rendered and tokenized as training does it; a foreign template in a child process.
    Raises EngineError for an empty prompt, a special token inside a message, a conversation
    the template refuses, and one that leaves no room for an answer.
    """
    for messages in conversations:
        _check_messages(messages, tokenizer)
    texts = _rendered(conversations, tokenizer, template_is_ours)
    prompts = [list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    _check_lengths(prompts, limit)
    return prompts


def encode_texts(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, limit: int | None
) -> list[list[int]]:
    """Token ids of each text to continue, as training reads plain text.

    Raises EngineError for an empty text, and one that leaves no room for what comes next.
    """
    for text in texts:
        if not text.strip():
            raise EngineError(
                tr("The text is empty."), tr("Write something for the models to continue.")
            )
        _check_characters(len(text))
    prompts = continuation_tokens(texts, tokenizer)
    _check_lengths(prompts, limit)
    return prompts


def text_of(messages: Sequence[Message]) -> str:
    """A conversation as one text to continue: its texts as they stand, one behind the other."""
    return "".join(message.content for message in messages)


def _check_lengths(prompts: Sequence[Sequence[int]], limit: int | None) -> None:
    for tokens in prompts:
        if limit is not None and len(tokens) >= limit:
            raise EngineError(
                tr(
                    "The conversation has {count} tokens; this model reads at most {limit}, "
                    "answer included.",
                    count=f"{len(tokens):,}",
                    limit=f"{limit:,}",
                ),
                tr("Shorten the prompt, or begin a new conversation."),
            )


def _check_characters(characters: int) -> None:
    if characters > MAX_CHARACTERS:
        raise EngineError(
            tr(
                "The conversation has {characters} characters; at most {max_characters} are "
                "allowed.",
                characters=f"{characters:,}",
                max_characters=f"{MAX_CHARACTERS:,}",
            ),
            tr("Shorten the prompt, or begin a new conversation."),
        )


def _rendered(
    conversations: Sequence[Sequence[Message]],
    tokenizer: PreTrainedTokenizerBase,
    template_is_ours: bool,
) -> list[str]:
    template = chat_template_of(tokenizer)
    if not template_is_ours and template.name != DEFAULT_TEMPLATE_NAME:
        asked = [
            Conversation(row, tuple(messages), add_generation_prompt=True)
            for row, messages in enumerate(conversations, 1)
        ]
        return render(template, asked)
    return [
        str(
            tokenizer.apply_chat_template(
                [{"role": message.role, "content": message.content} for message in messages],
                chat_template=template.source,
                add_generation_prompt=True,
                tokenize=False,
            )
        )
        for messages in conversations
    ]


def _check_messages(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> None:
    if not messages or not messages[-1].content.strip():
        raise EngineError(
            tr("The prompt is empty."), tr("Write something for the models to answer.")
        )
    if messages[-1].role != "user":
        raise EngineError(
            tr(
                "The last message is by {role}; an answer follows one by 'user'.",
                role=f"{messages[-1].role!r}",
            ),
            tr("End the conversation with a message of the user."),
        )
    _check_characters(sum(len(message.content) for message in messages))
    special = tokenizer.all_special_tokens
    for message in messages:
        if message.role not in ROLES:
            raise EngineError(
                tr(
                    "A message has the role {role}; allowed are {roles}.",
                    role=f"{message.role[:40]!r}",
                    roles=", ".join(ROLES),
                ),
                tr("Use one of these roles."),
            )
        found = next((token for token in special if token in message.content), None)
        if found is not None:
            raise EngineError(
                tr(
                    "A message contains {found}, which this model reads as a mark of its "
                    "own, not as text.",
                    found=f"{found!r}",
                ),
                tr("Take it out, or put a space into it."),
            )
