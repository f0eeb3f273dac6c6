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
from lora_engine.data.picked import Picked
from lora_engine.data.preview_warnings import find_problems, warnings_about
from lora_engine.data.rows import Dataset, Row, RowsRemoved
from lora_engine.data.set_counts import RowCounts, count_rows_of
from lora_engine.data.sources import load_dataset
from lora_engine.data.tokenization import IGNORED, TokenizedRow, tokenization_of
from lora_engine.settings import Settings, load_settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lora_engine.base_models import BaseModel
    from lora_engine.data.tokenization import Tokenization, TokenizedRow
    from lora_engine.spec import DatasetSpec

MAX_MEASURED_ROWS = 5_000
MAX_MEASURED_CHARACTERS = 10_000_000
MAX_SHOWN_TOKENS = 4_000
HISTOGRAM_BARS = 20


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
    a person finds it, with its set where there are several.
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
    else:
        measured = _measure(rows, tokenizer, max_length, n)
    found = find_problems(rows, tokenizer)
    done = measured.tokenization
    supervised = sum(label >= 0 for row in done.rows for label in row.labels)
    tokens = sum(len(row.input_ids) for row in done.rows)
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
            *_range_warnings(base, done.rows, tokenizer),
            *done.warnings,
            *warnings_about(dataset, len(rows), found),
        ),
        notes=dataset.notes,
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
    return _Measured(done, lengths, [_example(row, tokenizer, max_length) for row in first])


def _measure_labelled(
    dataset: Dataset,
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    shown: int,
) -> _Measured:
    done = label_rows(rows, tokenizer, max_length, labels_of(dataset.rows))
    pairs = zip(rows[:shown], done.rows, strict=False)
    examples = [_labelled_example(row, made, tokenizer) for row, made in pairs]
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


def _example(
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


def _labelled_example(
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
