"""Text that no chat template writes: passages, prompts with their answers, and texts to continue.

All three get the same marks, so what a model is asked to continue reads as what it was trained on:
the tokenizer's start token first, its end token where the text ends. Of templates this module knows
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data.left_out import LeftOut, called_name, left_out_of, parsed
from lora_engine.data.rows import Message, Row
from lora_engine.data.thoughts import start_of_answer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Offsets = list[tuple[int, int]]
Marks = tuple[int | None, int | None]


@dataclass(frozen=True)
class JoinedTurns:
    """A conversation's texts one behind the other; spans: the characters [start, end) learned.

    left_out: what a row has besides its texts, which nothing writes here.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    left_out: tuple[LeftOut, ...]


def join_turns(row: Row, turns: Sequence[Message]) -> JoinedTurns:
    """The texts of `turns` as they stand, nothing between them; the loss is on the learned ones."""
    text, spans = "", []
    for turn in turns:
        start = len(text)
        text += turn.content
        if turn.role == "assistant" and turn.is_learned:
            if not turn.is_reasoning_learned:
                start = start_of_answer(text, start, len(text), turn)
            spans.append((start, len(text)))
    return JoinedTurns(text, tuple(spans), tuple(_left_out(row, turns)))


def continuation_tokens(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> list[list[int]]:
    """The tokens of each text to continue: the start token first, no end token."""
    batch = tokenizer(list(texts), add_special_tokens=True, return_attention_mask=False)
    marks = marks_of(tokenizer)
    return [with_marks(ids, [(0, 0)] * len(ids), marks, False)[0] for ids in batch["input_ids"]]


def marks_of(tokenizer: PreTrainedTokenizerBase) -> Marks:
    """The tokens that begin and end a text; a tokenizer takes long to say so for each row."""
    return tokenizer.bos_token_id, tokenizer.eos_token_id


def with_marks(
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    marks: Marks,
    ends: bool,
) -> tuple[list[int], Offsets]:
    """Tokens and their characters with the start token first, and the end token last if it `ends`.

    A tokenizer may add either by itself, or none.
    """
    begin, end = marks
    ids, offsets = list(ids), list(offsets)
    if begin is not None and ids[:1] != [begin]:
        ids, offsets = [begin, *ids], [(0, 0), *offsets]
    if not ends and end is not None and ids[-1:] == [end]:
        ids, offsets = ids[:-1], offsets[:-1]
    elif ends and end is not None and ids[-1:] != [end]:
        ids, offsets = [*ids, end], [*offsets, (0, 0)]
    return ids, offsets


def _left_out(row: Row, turns: Sequence[Message]) -> Iterator[LeftOut]:
    for turn in turns:
        yield from left_out_of(turn, turn.content)
    for tool in parsed(row.tools, [])[:1]:
        yield LeftOut("the tools", called_name(tool), is_learned=False)
