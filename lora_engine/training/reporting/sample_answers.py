"""Sample answers: the model's answers to a few fixed prompts while it trains.

Decoding is greedy, so the same weights give the same answers and no random number is drawn. Each
new token costs a pass over the whole row: a training path has no KV cache, and answers are short.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data import Message, Row, TokenizedRow, chat_template_of, stop_tokens
from lora_engine.data.plain_text import continuation_tokens
from lora_engine.data.prompt_rows import PromptRow
from lora_engine.data.templates import Conversation, render
from lora_engine.run_folder import SampleRow
from lora_engine.training.forward.batches import IGNORED, ForwardPath

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PASSAGE_TOKENS = 16  # the beginning of a plain text, as a prompt to continue


@dataclass(frozen=True)
class SamplePrompt:
    """A prompt as text and as the model's tokens."""

    text: str
    input_ids: tuple[int, ...]


def prompts_from_texts(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    with_template: bool = True,
) -> list[SamplePrompt]:
    """Prompts the person wrote, each as a user turn, or as a text to continue without a template.

    Raises EngineError as `render` does.
    """
    if with_template:
        encoded = _as_questions(texts, tokenizer)
    else:
        encoded = continuation_tokens(texts, tokenizer)
    return [
        SamplePrompt(text, tuple(ids[:max_length]))
        for text, ids in zip(texts, encoded, strict=True)
    ]


def _as_questions(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    conversations = [
        Conversation(number, (Message("user", text),), add_generation_prompt=True)
        for number, text in enumerate(texts, 1)
    ]
    rendered = render(chat_template_of(tokenizer), conversations)
    return tokenizer(rendered, add_special_tokens=False).input_ids


def prompts_from_rows(
    rows: Sequence[Row],
    tokenized: Sequence[TokenizedRow],
    tokenizer: PreTrainedTokenizerBase,
    count: int,
) -> list[SamplePrompt]:
    """What the first `count` rows say before their first answer; of plain text, its beginning."""
    asked = [row for row in tokenized[:count] if isinstance(row, PromptRow)]
    if asked:
        return [SamplePrompt(row.text, row.input_ids) for row in asked]
    chosen: dict[int, TokenizedRow] = {}
    for row in tokenized:
        if len(chosen) == count:
            break
        chosen.setdefault(row.number, row)
    questions = _questions(rows, chosen)
    prompts: list[SamplePrompt] = []
    for row in chosen.values():
        before = next((i for i, label in enumerate(row.labels) if label != IGNORED), 0)
        ids = row.input_ids[: max(before, PASSAGE_TOKENS if questions[row.number] is None else 1)]
        text = questions[row.number] or str(tokenizer.decode(list(ids), skip_special_tokens=True))
        prompts.append(SamplePrompt(text, ids))
    return prompts


def _questions(rows: Sequence[Row], numbers: Collection[int]) -> dict[int, str | None]:
    """The questions of the rows of these numbers; no row is read beyond the last of them."""
    found: dict[int, str | None] = {}
    for row in rows:
        if len(found) == len(numbers):
            break
        if row.number in numbers:
            found[row.number] = _question(row)
    return found


def answer_prompts(
    path: ForwardPath,
    prompts: Sequence[SamplePrompt],
    tokenizer: PreTrainedTokenizerBase,
    step: int,
    max_tokens: int,
) -> list[SampleRow]:
    """The model's greedy answer to each prompt, as it stands after `step`."""
    import torch

    ends = stop_tokens(tokenizer, getattr(path.model, "generation_config", None))
    answers: list[list[int]] = [[] for _ in prompts]
    unfinished = list(range(len(prompts)))
    path.model.eval()
    with torch.inference_mode():
        for _ in range(max_tokens):
            rows = [_row(prompts[i].input_ids + tuple(answers[i])) for i in unfinished]
            for i, token in zip(list(unfinished), path.next_tokens(rows), strict=True):
                if token in ends:
                    unfinished.remove(i)
                else:
                    answers[i].append(token)
            if not unfinished:
                break
    path.model.train()
    texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
    return [
        SampleRow(step=step, prompt=prompt.text, text=text, finished=i not in unfinished)
        for i, (prompt, text) in enumerate(zip(prompts, texts, strict=True))
    ]


def _question(row: Row) -> str | None:
    """The last turn before the first answer; None for plain text."""
    if row.text is not None:
        return None
    roles = [message.role for message in row.messages]
    first = roles.index("assistant") if "assistant" in roles else len(roles)
    return row.messages[first - 1].content if first else ""


def _row(ids: tuple[int, ...]) -> TokenizedRow:
    return TokenizedRow(0, ids, (IGNORED,) * len(ids), False)
