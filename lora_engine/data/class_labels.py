"""Rows to classify: their classes, and their tokens with a class for the row or for each word.

The classes are those in the rows, ordered by name, or by value where all are whole numbers. A row
that is too long keeps its beginning; words beyond the limit lose their tag. This module knows
nothing of models.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data.entity_spans import tag_scheme
from lora_engine.data.picked import Keep
from lora_engine.data.rows import Dataset, Row
from lora_engine.data.said import said
from lora_engine.data.tokenization import IGNORED, Tokenization, TokenizedRow, list_rows
from lora_engine.errors import EngineError
from lora_engine.language import tr

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_LABELS = 1_000
FORMATS = {
    "sequence_classification": "classification",
    "token_classification": "token_classification",
}


@dataclass(frozen=True)
class Classes:
    """The classes that a head tells apart, in the order of its outputs; of words or of texts."""

    labels: tuple[str, ...]
    of_words: bool

    @property
    def scheme(self) -> str | None:
        """How the tags of words mean entities (`tag_scheme`); None where they do not."""
        return tag_scheme(self.labels) if self.of_words else None


def refuse_other_task(task: str, dataset: Dataset) -> None:
    """Raises EngineError where these rows are not what the task learns from."""
    wanted = FORMATS.get(task)
    if wanted is None and dataset.format in FORMATS.values():
        fitting = next(name for name, format in FORMATS.items() if format == dataset.format)
        raise EngineError(
            tr(
                "{source} has rows to classify (format {format}), and the task is {task}.",
                source=dataset.source,
                format=dataset.format,
                task=task,
            ),
            tr(
                "Choose the task {fitting}, or the format text to continue the texts.",
                fitting=fitting,
            ),
        )
    if wanted is not None and dataset.format != wanted:
        raise EngineError(
            tr(
                "{source} is in the format {format}; the task {task} needs {wanted}.",
                source=dataset.source,
                format=dataset.format,
                task=task,
                wanted=wanted,
            ),
            tr("Give rows with text and label, or with tokens and tags, or name these columns."),
        )
    if wanted is not None:
        labels_of(dataset.rows)


def labels_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """Every class in the rows, in order. Raises EngineError for fewer than 2 or over 1,000."""
    found = {row.label for row in rows if row.label is not None}
    found.update(tag for row in rows for tag in row.tags)
    if not 2 <= len(found) <= MAX_LABELS:
        raise EngineError(
            tr(
                "The rows have {count} classes; 2 to {max_labels} can be told apart.",
                count=f"{len(found):,}",
                max_labels=f"{MAX_LABELS:,}",
            ),
            tr("Check which column holds the class."),
        )
    numbers = all(label.lstrip("-").isdecimal() for label in found)
    return tuple(sorted(found, key=(lambda label: (int(label), label)) if numbers else None))


def label_rows(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    labels: Sequence[str],
    keep: Keep[TokenizedRow] = tuple,
) -> Tokenization:
    """The rows' tokens. `labels` of a text: one number, its class; of words: one a token, the
    class on the first token of each word and -100 elsewhere.

    keep: holds the sequences, which it is given one by one; in memory where nothing is said.
    Raises EngineError for words where the tokenizer is not a fast one.
    """
    number_of = {label: number for number, label in enumerate(labels)}
    numbers = array("q")

    def labelled() -> Iterator[TokenizedRow]:
        for row in rows:
            made = _labelled(row, tokenizer, max_length, number_of)
            if made.truncated:
                numbers.append(made.number)
            if set(made.labels) - {IGNORED}:
                yield made

    kept = keep(labelled())
    cut = tuple(numbers)
    return Tokenization(
        rows=kept,
        template="",
        without_answer=(),
        lost_answer=(),
        cut=cut,
        warnings=(
            (
                said(
                    "Cut off at {max_length} tokens, the beginning kept: {list_rows}.",
                    max_length=f"{max_length:,}",
                    list_rows=list_rows(cut),
                ),
            )
            if cut
            else ()
        ),
    )


def _labelled(
    row: Row, tokenizer: PreTrainedTokenizerBase, max_length: int, number_of: dict[str, int]
) -> TokenizedRow:
    if row.words and not tokenizer.is_fast:
        raise EngineError(
            tr(
                "The base model's tokenizer has no fast version, which tags need (it tells "
                "each token's word)."
            ),
            tr("Use a base model with a tokenizer.json."),
        )
    given = list(row.words) if row.words else row.text
    split = {"is_split_into_words": bool(row.words), "verbose": False}
    whole = tokenizer(given, **split)
    is_long = len(whole["input_ids"]) > max_length
    kept = tokenizer(given, truncation=True, max_length=max_length, **split) if is_long else whole
    if row.label is None:
        labels = _first_tokens(kept.word_ids(), [number_of[tag] for tag in row.tags])
    else:
        labels = (number_of[row.label],)
    return TokenizedRow(row.number, tuple(kept["input_ids"]), labels, is_long)


def _first_tokens(words: Sequence[int | None], tags: Sequence[int]) -> tuple[int, ...]:
    """The tag at each word's first token; words: each token's word, None for added tokens."""
    before = [None, *words]
    return tuple(
        IGNORED if word is None or word == previous else tags[word]
        for previous, word in zip(before, words, strict=False)
    )
