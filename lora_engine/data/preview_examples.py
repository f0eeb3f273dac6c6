"""Rows as the model will see them, token by token: the examples of a preview.

Knows nothing of measurements or of screens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data.encoding import EncodedRow
from lora_engine.data.rows import Row
from lora_engine.data.tokenization import IGNORED, TokenizedRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_SHOWN_TOKENS = 4_000


@dataclass(frozen=True)
class PreviewToken:
    """One token as it stands in the row's text; joined, the texts of a chat row are its text.

    special: a control token, not plain text. kept: within the limit.
    """

    text: str
    id: int
    supervised: bool
    special: bool
    kept: bool


@dataclass(frozen=True)
class PreviewExample:
    """A row as the model will see it.

    supervised_tokens: those kept that the loss is on. total_tokens: of the whole row, before
    truncation. kept_tokens: of these, within the limit. tokens: at most `MAX_SHOWN_TOKENS`.
    label: the class of a row to classify, or its words' classes in their order. where: the row as
    a person finds it, with its set where there are several. rejected: the same question with the
    answer that is not preferred, of a pair. is_desirable: what a judged row says of its answer.
    """

    number: int
    text: str
    supervised_tokens: int
    total_tokens: int
    kept_tokens: int
    truncated: bool
    tokens: tuple[PreviewToken, ...]
    label: str = ""
    where: str = ""
    rejected: PreviewExample | None = None
    is_desirable: bool | None = None


def chat_example(
    row: EncodedRow, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> PreviewExample:
    limit = len(row.input_ids) if row.is_plain_text else max_length
    special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    names = tokenizer.convert_ids_to_tokens(list(row.input_ids[:MAX_SHOWN_TOKENS]))
    tokens, shown_up_to = [], 0
    for position, (name, token, (start, end)) in enumerate(
        zip(names, row.input_ids, row.offsets, strict=False)
    ):
        # a token the tokenizer adds stands nowhere in the text; the bytes of one character share
        # its place, and the first of them shows it
        is_added = start == end == 0 and token in special
        text = name if is_added else row.text[shown_up_to : max(shown_up_to, end)]
        shown_up_to = max(shown_up_to, end)
        tokens.append(
            PreviewToken(text, token, row.supervised[position], token in special, position < limit)
        )
    return PreviewExample(
        number=row.number,
        text=row.text,
        supervised_tokens=sum(row.supervised[:limit]),
        total_tokens=len(row.input_ids),
        kept_tokens=min(limit, len(row.input_ids)),
        truncated=len(row.input_ids) > limit,
        tokens=tuple(tokens),
    )


def labelled_example(
    row: Row, made: TokenizedRow, tokenizer: PreTrainedTokenizerBase
) -> PreviewExample:
    """A row to classify; `made` is cut already, so what is behind the limit is not shown."""
    special = set(tokenizer.all_special_ids)
    names = [str(tokenizer.decode([token])).strip() for token in made.input_ids[:MAX_SHOWN_TOKENS]]
    tagged = made.labels if row.words else [IGNORED] * len(names)
    tokens = tuple(
        PreviewToken(f"{name} ", token, label != IGNORED, token in special, True)
        for name, token, label in zip(names, made.input_ids, tagged, strict=False)
    )
    count = len(made.input_ids)
    supervised = sum(label != IGNORED for label in made.labels)
    text, label = row.text or " ".join(row.words), row.label or " ".join(row.tags)
    return PreviewExample(row.number, text, supervised, count, count, made.truncated, tokens, label)
