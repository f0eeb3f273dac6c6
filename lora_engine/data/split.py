"""Training rows and evaluation rows, drawn by a seed so that no row stands on both sides.

Two rows are twins when they say the same: equal turns or equal text, white space and Unicode
spelling (NFC) aside. Rows to classify are twins when their texts or words are equal, whatever
their class, and rows that judge an answer whatever their verdict. Rows that share a question and
differ in the answer are no twins: many sets mean it so. This module knows nothing of files, of
formats or of tokens.
"""

from __future__ import annotations

import hashlib
import json
import random
import unicodedata
from collections.abc import Iterable, Sequence

from lora_engine.data.rows import Dataset, Row
from lora_engine.errors import EngineError

TWINS_TOGETHER = "+twins"


def split_rows(
    dataset: Dataset, eval_fraction: float, seed: int
) -> tuple[Sequence[Row], Sequence[Row]]:
    """Training rows and evaluation rows, each in the order of the file.

    round(rows · eval_fraction) rows, at least one where the fraction is not 0, are drawn without
    replacement by a generator seeded with `seed`; at least one row is left for training.
    Twins stay together: where there are any, whole groups are drawn, as many as fit into that
    number, or the smallest one where none fits.
    Raises EngineError where a fraction is asked of rows that are all the same, or is not in
    [0, 1).
    """
    if not 0.0 <= eval_fraction < 1.0:
        raise EngineError(
            f"An evaluation share of {eval_fraction} was asked for; it must be at least 0 and "
            "less than 1.",
            "Give a share such as 0.1.",
        )
    if eval_fraction == 0.0:
        return dataset.rows, ()
    groups = _groups(dataset.rows)
    if len(groups) < 2:
        count = len(dataset.rows)
        what = "has one row" if count == 1 else f"has {count:,} rows that all say the same"
        raise EngineError(
            f"{dataset.source} {what}, so none can be kept apart for evaluation.",
            "Set the evaluation share to 0 or add rows.",
        )
    if len(groups) == len(dataset.rows):
        return _parted(dataset.rows, _drawn(len(dataset.rows), eval_fraction, seed))
    return _parted(dataset.rows, _drawn_in_groups(groups, eval_fraction, seed))


def split_hash(dataset: Dataset, eval_fraction: float) -> str:
    """The dataset's hash, marked where twins decide the split: before, they were drawn apart.

    A run is only resumed, and its evaluation rows only drawn again, by the rule it began with.
    """
    decides = eval_fraction > 0 and count_twins(dataset.rows) > 0
    return dataset.content_hash + (TWINS_TOGETHER if decides else "")


def rows_never_seen(
    dataset: Dataset, eval_fraction: float, seed: int, data_hash: str | None
) -> Sequence[Row]:
    """The evaluation rows of a run whose provenance has this `data_hash`, without any twin.

    Runs from before twins were kept together drew each row by itself; of theirs, the rows that
    have a twin in training are left out. Raises EngineError as `split_rows` does.
    """
    training, evaluation = split_rows(dataset, eval_fraction, seed)
    if evaluation and data_hash == dataset.content_hash:
        training, evaluation = _parted(dataset.rows, _drawn(len(dataset.rows), eval_fraction, seed))
    seen = {content_key(row) for row in training}
    return tuple(row for row in evaluation if content_key(row) not in seen)


def count_twins(rows: Iterable[Row]) -> int:
    """How many rows repeat an earlier one."""
    keys = [content_key(row) for row in rows]
    return len(keys) - len(set(keys))


def content_key(row: Row) -> bytes:
    """A digest that twins share."""
    turns = [
        (turn.role, *map(_plain, (turn.content, turn.reasoning, turn.tool_calls, turn.extra)))
        for turn in (*row.messages, *row.rejected)
    ]
    content = [turns, _plain(row.text or ""), [_plain(word) for word in row.words]]
    content += [_plain(row.tools)]
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).digest()


def _plain(text: str) -> str:
    """A text without what does not bear on its meaning: white space and Unicode's spelling."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def _groups(rows: Sequence[Row]) -> list[list[int]]:
    """The places of the rows, twins together, in the order of each group's first row."""
    groups: dict[bytes, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(content_key(row), []).append(place)
    return list(groups.values())


def _wanted(count: int, eval_fraction: float) -> int:
    return min(count - 1, max(1, round(count * eval_fraction)))


def _drawn(count: int, eval_fraction: float, seed: int) -> set[int]:
    """Places of rows drawn one by one."""
    return set(random.Random(seed).sample(range(count), _wanted(count, eval_fraction)))


def _drawn_in_groups(groups: list[list[int]], eval_fraction: float, seed: int) -> set[int]:
    """Places of whole groups in a drawn order, at most as many rows as are wanted."""
    wanted = _wanted(sum(map(len, groups)), eval_fraction)
    drawn: list[int] = []
    for group in random.Random(seed).sample(groups, len(groups)):
        if len(drawn) + len(group) <= wanted:
            drawn += group
    smallest: list[int] = min(groups, key=len)
    return set(drawn or smallest)


def _parted(rows: Sequence[Row], chosen: set[int]) -> tuple[Sequence[Row], Sequence[Row]]:
    training = tuple(row for place, row in enumerate(rows) if place not in chosen)
    return training, tuple(row for place, row in enumerate(rows) if place in chosen)
