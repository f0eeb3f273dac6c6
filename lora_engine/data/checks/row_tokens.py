"""What rows lose at the token limit of a run, told by the base model's own tokenizer.

Knows no files. Rows are encoded in batches and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lora_engine.data.checks.findings import FindingKind
from lora_engine.data.encoding import encode, special_tokens_of
from lora_engine.data.preview_warnings import rows_with_tokens
from lora_engine.data.rows import Row
from lora_engine.language import tr

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS_AT_ONCE = 2_000


def token_problems(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Iterator[tuple[int, FindingKind, str]]:
    """For rows of chats: the place, what is lost, and how many tokens the row has.

    Raises EngineError where a template fails on a row.
    """
    tokens = special_tokens_of(tokenizer)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        with_tokens = set(rows_with_tokens(some, tokens))
        for place, row in enumerate(encode(some, tokenizer), start=start):
            if place - start in with_tokens:
                yield place, FindingKind.CONTROL_TOKEN, row.text
            length = len(row.input_ids)
            if row.is_plain_text or length <= max_length or not any(row.supervised):
                continue
            is_lost = not any(row.supervised[:max_length])
            kind = FindingKind.LOST_ANSWER if is_lost else FindingKind.CUT
            yield (
                place,
                kind,
                tr(
                    "{length} tokens; the limit is {max_length}",
                    length=f"{length:,}",
                    max_length=f"{max_length:,}",
                ),
            )
