"""Do a dataset's tokens fit the model: is there a row of the embedding for every token id?

A tokenizer may know tokens that the model has no row for (tokens were added to it, the embedding
was not resized). That is refused where such a token is used, and only said where none is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lora_engine.base_models import BaseModel, load_tokenizer
from lora_engine.base_models.token_ids import (
    embedding_rows,
    highest_token_id,
    refuse_padding_beyond,
    special_ids_beyond,
)
from lora_engine.data.bundled_templates import AUTO, choose_template
from lora_engine.data.rows import Row
from lora_engine.data.tokenization import TokenizedRow, list_rows, tokenize
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lora_engine.spec import TemplateChoice

OTHER_MODELS = 0.5  # a tokenizer with less than this share of the rows is hardly the model's own
REMEDY = translatable(
    "Take these tokens out, or give a base model whose embedding was resized to its tokenizer "
    "(resize_token_embeddings)."
)


def refuse_rows_beyond(
    base: BaseModel, rows: Sequence[Row], max_length: int, template: TemplateChoice = AUTO
) -> None:
    """Raises EngineError naming the first row with a token that the base has no embedding for.

    template: what the rows are written in.
    Tokenizes only where the tokenizer's files say, or leave open, that there can be such a token.
    """
    refuse_padding_beyond(base)
    limit = embedding_rows(base)
    if base.path is None or limit is None:
        return
    highest = highest_token_id(base.path)
    if highest is not None and highest < limit:
        return
    tokenizer = choose_template(load_tokenizer(base), template)

    def refuse(pieces: Iterable[TokenizedRow]) -> Sequence[TokenizedRow]:
        refuse_tokens_beyond(base, pieces, tokenizer)
        return ()

    if highest_of(tokenizer) >= limit:
        tokenize(rows, tokenizer, max_length, refuse)


def refuse_tokens_beyond(
    base: BaseModel, rows: Iterable[TokenizedRow], tokenizer: PreTrainedTokenizerBase
) -> None:
    """Raises EngineError as `refuse_rows_beyond` does, and for the token that fills up rows."""
    limit = embedding_rows(base)
    if limit is None or highest_of(tokenizer) < limit:
        return
    refuse_padding_token(tokenizer, limit)
    found = _first_beyond(rows, limit)
    if found is not None:
        number, token = found
        raise EngineError(
            tr(
                "Row {number} has {beyond}.", number=number, beyond=_beyond(token, tokenizer, limit)
            ),
            tr(REMEDY),
        )


def refuse_padding_token(tokenizer: PreTrainedTokenizerBase, limit: int) -> None:
    """Raises EngineError where the token that fills up rows has no row in the embedding."""
    pad = tokenizer.pad_token_id
    if pad is not None and pad >= limit:
        raise EngineError(
            tr("The tokenizer fills up rows with {beyond}.", beyond=_beyond(pad, tokenizer, limit)),
            tr("Name another pad_token in tokenizer_config.json, such as its eos_token."),
        )


def refuse_ids_beyond(
    base: BaseModel, prompts: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase
) -> None:
    """Raises EngineError for the first prompt with a token that the base has no embedding for."""
    limit = embedding_rows(base)
    if limit is None or highest_of(tokenizer) < limit:
        return
    for number, ids in enumerate(prompts, 1):
        token = next((token for token in ids if token >= limit), None)
        if token is not None:
            raise EngineError(
                tr(
                    "Prompt {number} has {beyond}.",
                    number=number,
                    beyond=_beyond(token, tokenizer, limit),
                ),
                tr(REMEDY),
            )


def range_warnings(
    base: BaseModel, rows: Sequence[TokenizedRow], tokenizer: PreTrainedTokenizerBase
) -> tuple[str, ...]:
    """What a preview says about tokens and rows of the embedding that do not match."""
    limit = embedding_rows(base)
    if limit is None:
        return ()
    highest = highest_of(tokenizer)
    said = special_ids_beyond(base)
    found = _first_beyond(rows, limit)
    if found is not None:
        numbers = list(dict.fromkeys(r.number for r in rows if max(r.input_ids) >= limit))
        said.append(
            tr(
                "Cannot be trained: row {found} has {beyond}; in all {list_rows}.",
                found=found[0],
                beyond=_beyond(found[1], tokenizer, limit),
                list_rows=list_rows(numbers),
            )
        )
    elif highest >= limit:
        said.append(
            tr(
                "The tokenizer knows ids up to {highest}, and the model's embedding has "
                "{limit} rows. No row here has one of those tokens.",
                highest=f"{highest:,}",
                limit=f"{limit:,}",
            )
        )
    if highest < OTHER_MODELS * limit:
        said.append(
            tr(
                "The tokenizer knows {highest} tokens, and the model's embedding has {limit} "
                "rows: is it the tokenizer of this model?",
                highest=f"{highest + 1:,}",
                limit=f"{limit:,}",
            )
        )
    return tuple(said)


def highest_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """The highest id that a loaded tokenizer can give out."""
    return max([len(tokenizer) - 1, *tokenizer.get_added_vocab().values()])


def _first_beyond(rows: Iterable[TokenizedRow], limit: int) -> tuple[int, int] | None:
    for row in rows:
        for token in row.input_ids:
            if token >= limit:
                return row.number, token
    return None


def _beyond(token: int, tokenizer: PreTrainedTokenizerBase, limit: int) -> str:
    text = tokenizer.convert_ids_to_tokens(token)
    return tr(
        "the token {text} (id {token}), and the model's embedding has {limit} rows (ids "
        "0 to {limit_2})",
        text=f"{text!r}",
        token=f"{token:,}",
        limit=f"{limit:,}",
        limit_2=f"{limit - 1:,}",
    )
