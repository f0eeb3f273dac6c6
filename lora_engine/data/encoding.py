"""From rows to tokens that know their characters and whether the loss is on them.

Chat rows are rendered with the chat template, tokenized whole, and the loss is on the tokens of
the assistant's turns, the token that ends each turn included. Plain text is supervised whole,
with the begin and end tokens the tokenizer has. The first token of a row is never supervised:
nothing stands before it to predict it from. This module knows nothing of files or lengths.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data.bundled_templates import NO_TEMPLATE_NAME
from lora_engine.data.left_out import LeftOut
from lora_engine.data.masking import supervised_texts, up_to_last_answer
from lora_engine.data.plain_text import join_turns, marks_of, with_marks
from lora_engine.data.rows import Row
from lora_engine.data.templates import chat_template_of
from lora_engine.errors import EngineError
from lora_engine.language import tr

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ENCODE_ROWS = 5_000  # of short rows; each batch of chats starts a child process
ENCODE_CHARACTERS = 2_000_000


@dataclass(frozen=True)
class EncodedRow:
    """A row's tokens before any are cut off.

    text: the row as rendered; offsets: (start, end) characters of each token in it, (0, 0) for
    the tokens a tokenizer adds around plain text. supervised: one flag a token.
    ends_with_token: the template itself ends the last answer with a special token. ends_each: also
    each one that a question follows. left_out: what it does not write of the row. has_answer: the
    row has a turn of the assistant's, learned or not. meets_inside: an answer begins inside a token
    that the text before it reaches into.
    """

    number: int
    text: str
    input_ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    supervised: tuple[bool, ...]
    is_plain_text: bool
    ends_with_token: bool = True
    ends_each: bool = True
    left_out: tuple[LeftOut, ...] = ()
    has_answer: bool = True
    meets_inside: bool = False


def encode(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> Iterator[EncodedRow]:
    """Every row's tokens with their characters and supervised flags, nothing cut off.

    Encoded in batches as the caller asks for them: a token's characters need far more memory than
    the token.
    Raises EngineError where a template fails on a row, and for a tokenizer without offsets.
    """
    if not tokenizer.is_fast:
        raise EngineError(
            tr(
                "The base model's tokenizer has no fast version, which the mask of "
                "supervised tokens needs (it tells each token's characters)."
            ),
            tr("Use a base model with a tokenizer.json."),
        )
    joins = chat_template_of(tokenizer).name == NO_TEMPLATE_NAME
    encode_chats = _encode_joined if joins else _encode_chats
    for some in _batches(rows):
        encode_some = encode_chats if some[0].text is None else _encode_texts
        yield from encode_some(some, tokenizer)


def _batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows in order, in lists of one kind bounded by rows and by characters."""
    some: list[Row] = []
    characters = 0
    for row in rows:
        is_other_kind = some and (some[0].text is None) != (row.text is None)
        if is_other_kind or len(some) >= ENCODE_ROWS or characters >= ENCODE_CHARACTERS:
            yield some
            some, characters = [], 0
        some.append(row)
        characters += row.characters
    if some:
        yield some


def special_tokens_of(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Every token a template may write that plain text does not make, longest first."""
    tokens = set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab())
    return sorted(tokens, key=len, reverse=True)


def _encode_chats(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> list[EncodedRow]:
    rendered = supervised_texts(
        chat_template_of(tokenizer), rows, special_tokens_of(tokenizer), tokenizer.eos_token or ""
    )
    batch = _batch([row.text for row in rendered], tokenizer, add_special_tokens=False)
    encoded = []
    for source, row, ids, offsets in zip(
        rows, rendered, batch["input_ids"], batch["offset_mapping"], strict=True
    ):
        encoded.append(
            EncodedRow(
                number=row.number,
                text=row.text,
                input_ids=tuple(ids),
                offsets=tuple(offsets),
                supervised=_flags(offsets, row.spans),
                is_plain_text=False,
                ends_with_token=row.ends_with_token,
                ends_each=row.ends_each,
                left_out=row.left_out,
                has_answer=any(turn.role == "assistant" for turn in source.messages),
            )
        )
    return encoded


def _flags(
    offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]
) -> tuple[bool, ...]:
    """True for the tokens that reach into a span of characters; never for the first token.

    offsets: (start, end) of each token, in order, so both ends can be searched by bisection.
    """
    flags = [False] * len(offsets)
    starts = [start for start, _ in offsets]
    ends = [end for _, end in offsets]
    for start, end in spans:
        first = max(1, bisect_right(ends, start))
        last = bisect_left(starts, end)
        flags[first:last] = [True] * max(0, last - first)
    return tuple(flags)


def _encode_joined(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> list[EncodedRow]:
    """Conversations without a template: the texts one behind the other, and the end token."""
    joined = [join_turns(row, up_to_last_answer(row.messages)) for row in rows]
    batch = _batch([row.text for row in joined], tokenizer, add_special_tokens=True)
    marks = marks_of(tokenizer)
    has_end_token = marks[1] is not None
    encoded = []
    for source, row, ids, offsets in zip(
        rows, joined, batch["input_ids"], batch["offset_mapping"], strict=True
    ):
        marked, places = with_marks(ids, offsets, marks, ends=bool(row.spans))
        has_end = bool(row.spans) and has_end_token
        flags = _flags(places[:-1] if has_end else places, row.spans) + (True,) * has_end
        encoded.append(
            EncodedRow(
                number=source.number,
                text=row.text,
                input_ids=tuple(marked),
                offsets=tuple(places),
                supervised=flags,
                is_plain_text=False,
                ends_with_token=has_end_token,
                left_out=row.left_out,
                has_answer=any(turn.role == "assistant" for turn in source.messages),
                meets_inside=any(
                    first < start < last for start, _ in row.spans for first, last in places
                ),
            )
        )
    return encoded


def _encode_texts(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> list[EncodedRow]:
    """Plain text with the tokens the tokenizer adds, and its end token where a text ends."""
    texts = [row.text or "" for row in rows]
    batch = _batch(texts, tokenizer, add_special_tokens=True)
    marks = marks_of(tokenizer)
    encoded = []
    for row, ids, offsets in zip(rows, batch["input_ids"], batch["offset_mapping"], strict=True):
        ids, offsets = with_marks(ids, offsets, marks, ends=not row.continues)
        supervised = (False,) * bool(ids) + (True,) * (len(ids) - 1)
        encoded.append(
            EncodedRow(row.number, row.text or "", tuple(ids), tuple(offsets), supervised, True)
        )
    return encoded


def _batch(texts: list[str], tokenizer: PreTrainedTokenizerBase, add_special_tokens: bool):
    return tokenizer(
        texts,
        add_special_tokens=add_special_tokens,
        return_offsets_mapping=True,
        return_attention_mask=False,
        truncation=False,
        padding=False,
        verbose=False,
    )
