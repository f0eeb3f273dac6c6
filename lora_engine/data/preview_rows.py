"""A dataset as a base model will see it, token by token, with figures and warnings.

The figures are measured on rows from the start of the set, at most `MAX_MEASURED_ROWS` rows and
`MAX_MEASURED_CHARACTERS` characters. This module knows nothing of screens: the mask viewer draws
what it returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lora_engine.data.bundled_templates import choice_warnings, choose_template
from lora_engine.data.class_labels import FORMATS, label_rows, labels_of
from lora_engine.data.encoding import EncodedRow, encode
from lora_engine.data.objective_rows import PAIRS
from lora_engine.data.picked import Picked
from lora_engine.data.preference_tokens import RejectedSides, answers_of, join_sides
from lora_engine.data.preview_examples import (
    PreviewExample,
    chat_example,
    labelled_example,
)
from lora_engine.data.preview_warnings import find_problems, notes_about, warnings_about
from lora_engine.data.rows import Dataset, Row, RowsRemoved
from lora_engine.data.set_counts import RowCounts, count_rows_of
from lora_engine.data.sources import load_dataset
from lora_engine.data.tokenization import TokenizedRow, tokenization_of
from lora_engine.environment import load_settings
from lora_engine.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lora_engine.base_models import BaseModel
    from lora_engine.data.tokenization import Tokenization, TokenizedRow
    from lora_engine.spec import DatasetSpec

MAX_MEASURED_ROWS = 5_000
MAX_MEASURED_CHARACTERS = 10_000_000
HISTOGRAM_BARS = 20


@dataclass(frozen=True)
class HistogramBar:
    """Rows whose length is at least `start` and less than `end` tokens."""

    start: int
    end: int
    rows: int


@dataclass(frozen=True)
class Preview:
    """A dataset as a base model will see it.

    template: the chat template's name, empty for plain text. supervised_share: supervised tokens
    divided by all tokens that are kept. truncated_rows, dropped_rows, duplicate_rows and
    empty_answers are counts of measured rows. notes: how the file was read where that is no matter
    of course, and which of its columns were not. counts: the rows that a run trains on and
    evaluates. removed: what the filters left out of them. All of it becomes JSON by
    `dataclasses.asdict`.
    """

    source: str
    format: str
    rows: int
    measured_rows: int
    content_hash: str
    template: str
    max_length: int
    tokens: int
    supervised_share: float
    truncated_rows: int
    dropped_rows: int
    duplicate_rows: int
    empty_answers: int
    length_histogram: tuple[HistogramBar, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    examples: tuple[PreviewExample, ...]
    counts: RowCounts
    removed: tuple[RowsRemoved, ...]


def preview(
    spec: DatasetSpec,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    n: int = 3,
    settings: Settings | None = None,
    base: BaseModel | None = None,
    *,
    seed: int = 0,
) -> Preview:
    """The first `n` rows as the model will see them, and measurements of the whole set.

    settings: where the library of uploads lies; read from the environment where not given. base:
    the model that the tokenizer should fit; not looked at where not given. seed: the run's, which
    decides the evaluation rows. Of several sets, the first rows are those of each in turn.
    Raises EngineError as `load_dataset` and `tokenize` do.
    """
    dataset = load_dataset(spec, settings or load_settings())
    counts = count_rows_of(dataset, spec.eval_fraction, seed)
    rows = _bounded_rows(_in_turn(dataset))
    about_template = choice_warnings(tokenizer, spec.template) if _is_chat(rows) else ()
    tokenizer = choose_template(tokenizer, spec.template)
    if dataset.format in FORMATS.values():
        measured = _measure_labelled(dataset, rows, tokenizer, max_length, n)
    elif dataset.format == PAIRS:
        measured = _measure_pairs(rows, tokenizer, max_length, n)
    else:
        measured = _measure(rows, tokenizer, max_length, n)
    found = find_problems(rows, tokenizer)
    done = measured.tokenization
    answers = [answer for row in done.rows for answer in answers_of(row)]
    supervised = sum(label >= 0 for answer in answers for label in answer.labels)
    tokens = sum(len(answer.input_ids) for answer in answers)
    return Preview(
        source=dataset.source,
        format=dataset.format,
        rows=len(dataset.rows),
        measured_rows=len(rows),
        content_hash=dataset.content_hash,
        template=done.template,
        max_length=max_length,
        tokens=tokens,
        supervised_share=supervised / tokens,
        truncated_rows=len(done.cut) + len(done.lost_answer),
        dropped_rows=len(done.without_answer) + len(done.lost_answer),
        duplicate_rows=len(found.duplicates),
        empty_answers=len(found.empty_answers),
        length_histogram=_histogram(measured.lengths),
        warnings=(
            *([counts.problem] if counts.problem else []),
            *dataset.warnings,
            *about_template,
            *_range_warnings(base, answers, tokenizer),
            *done.warnings,
            *warnings_about(dataset, len(rows), found),
        ),
        notes=(*dataset.notes, *notes_about(dataset)),
        examples=tuple(
            replace(one, where=dataset.named_row(one.number)) for one in measured.examples
        ),
        counts=counts,
        removed=dataset.removed,
    )


def _is_chat(rows: Sequence[Row]) -> bool:
    return any(row.messages for row in rows)


@dataclass(frozen=True)
class _Measured:
    """The measured rows as tokens, their lengths before truncation, and the rows to show."""

    tokenization: Tokenization
    lengths: Sequence[int]
    examples: Sequence[PreviewExample]


def _range_warnings(
    base: BaseModel | None, rows: Sequence[TokenizedRow], tokenizer: PreTrainedTokenizerBase
) -> tuple[str, ...]:
    if base is None:
        return ()
    # Imported here: it brings NumPy with the readers of weights, which rows alone do not need.
    from lora_engine.data.embedding_range import range_warnings

    return tuple(range_warnings(base, rows, tokenizer))


def _measure(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int, shown: int
) -> _Measured:
    """Encode the rows once, one at a time, and hold only those to show: a token's characters cost
    far more memory than the token."""
    lengths: list[int] = []
    first: list[EncodedRow] = []

    def observed() -> Iterator[EncodedRow]:
        for row in encode(rows, tokenizer):
            lengths.append(len(row.input_ids))
            if len(first) < shown:
                first.append(row)
            yield row

    done = tokenization_of(observed(), tokenizer, max_length)
    verdicts = [row.is_desirable for row in rows[:shown]]
    return _Measured(
        done,
        lengths,
        [
            replace(chat_example(row, tokenizer, max_length), is_desirable=verdict)
            for row, verdict in zip(first, verdicts, strict=True)
        ],
    )


def _measure_pairs(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int, shown: int
) -> _Measured:
    """Both answers of each row; the longer one is the row's length."""
    chosen = _measure(rows, tokenizer, max_length, shown)
    rejected = _measure(RejectedSides(rows), tokenizer, max_length, shown)
    return _Measured(
        join_sides(chosen.tokenization, rejected.tokenization),
        list(map(max, chosen.lengths, rejected.lengths)),
        [
            replace(one, rejected=other)
            for one, other in zip(chosen.examples, rejected.examples, strict=True)
        ],
    )


def _measure_labelled(
    dataset: Dataset,
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    shown: int,
) -> _Measured:
    done = label_rows(rows, tokenizer, max_length, labels_of(dataset.rows))
    pairs = zip(rows[:shown], done.rows, strict=False)
    examples = [labelled_example(row, made, tokenizer) for row, made in pairs]
    return _Measured(done, [len(row.input_ids) for row in done.rows], examples)


def _in_turn(dataset: Dataset) -> Sequence[Row]:
    """The rows to measure: of several sets the first ones of each in turn."""
    if not dataset.parts:
        return dataset.rows
    import numpy as np

    most = MAX_MEASURED_ROWS
    places = [np.arange(part.start, min(part.end, part.start + most)) for part in dataset.parts]
    turns = np.concatenate([np.arange(len(one)) for one in places])
    order = np.argsort(turns, kind="stable")
    return Picked(dataset.rows, np.concatenate(places)[order])


def _bounded_rows(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows from the start that stay within the bounds; at least one."""
    characters = 0
    for position, row in enumerate(rows[:MAX_MEASURED_ROWS]):
        characters += row.characters
        if position and characters > MAX_MEASURED_CHARACTERS:
            return rows[:position]
    return rows[:MAX_MEASURED_ROWS]


def _histogram(lengths: Sequence[int]) -> tuple[HistogramBar, ...]:
    """At most `HISTOGRAM_BARS` bars of one width from 0 to the longest row."""
    width = max(lengths) // HISTOGRAM_BARS + 1
    counts = [0] * (max(lengths) // width + 1)
    for length in lengths:
        counts[length // width] += 1
    return tuple(
        HistogramBar(index * width, (index + 1) * width, count)
        for index, count in enumerate(counts)
    )
