"""What a dataset is once it is read: rows of messages or of plain text.

This module knows nothing of files, of formats or of tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lora_engine.language import tr

LARGE_ROWS = 100_000
LARGE_CHARACTERS = 50_000_000
"""A set of more rows, or of more characters in all, lies on disk, and so do its tokens."""
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Message:
    """One turn; `role` is one of `ROLES`.

    reasoning: the thoughts before an answer where the row gives them apart (`reasoning_content`).
    tool_calls: JSON, the list of calls that an assistant's turn makes; empty where it makes none.
    extra: JSON, an object of what else the template reads of a turn (a tool's `name`, its
        `tool_call_id`); empty where there is nothing.
    is_learned: the loss is on this turn; only an assistant's turn is ever learned.
    is_reasoning_learned: the loss is on its thoughts too, beside the content or in it.
    """

    role: str
    content: str
    reasoning: str = ""
    tool_calls: str = ""
    extra: str = ""
    is_learned: bool = True
    is_reasoning_learned: bool = True


@dataclass(frozen=True)
class Row:
    """One training example.

    number: 1-based, as in the file: the line of a JSON Lines file, the element of an array, the
        record of a CSV or Parquet file (the header not counted), the passage of a .txt file.
    messages: the turns; empty for plain text.
    text: the text, for the formats "text" and "classification" only.
    continues: the text goes on in the next row (a passage of a longer text), so no end token
        belongs after it.
    label: the text's class, for the format "classification".
    words, tags: words and one class for each, for the format "token_classification".
    tools: JSON, the list of tools that the template is given; empty where there are none.
    rejected: the turns once more, ending in the answer that is not preferred, for the format
        "preference"; `messages` then ends in the one that is.
    is_desirable: what the row says of its answer, for the format "kto"; None for the others.
    """

    number: int
    messages: tuple[Message, ...]
    text: str | None
    continues: bool = False
    label: str | None = None
    words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    tools: str = ""
    rejected: tuple[Message, ...] = ()
    is_desirable: bool | None = None

    @property
    def characters(self) -> int:
        """Characters of all its texts."""
        turns = sum(
            len(turn.content) + len(turn.reasoning) + len(turn.tool_calls) + len(turn.extra)
            for turn in (*self.messages, *self.rejected)
        )
        return len(self.text or "") + turns + sum(map(len, self.words)) + len(self.tools)


@dataclass(frozen=True)
class SetPart:
    """Where the rows of one set stand in a dataset made of several: `rows[start:end]`.

    source: its name, with configuration and split where they say more. weight: its share of an
    epoch, of 1; 0 for the evaluation set. added: what was added to the set's own row numbers.
    is_evaluation: its rows are never trained on.
    """

    source: str
    start: int
    end: int
    weight: float
    added: int
    is_evaluation: bool = False

    @property
    def rows(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class RowsRemoved:
    """How many rows one filter left out. filter: the field's name; what: those rows in words."""

    filter: str
    what: str
    rows: int


@dataclass(frozen=True)
class Dataset:
    """A dataset whole: `format` is the one found, `content_hash` tells the rows apart.

    Two files with the same rows in the same order have the same hash, whatever their file type.
    rows: a tuple, or for a large set rows that lie on disk and are decoded as they are asked for.
    warnings: what the file says that is not honoured, with the number of rows. notes: how it was
    read where that is no matter of course, and which columns were not. supervised: of preference
    data, how to learn its good answers alone, in words. parts: the sets that it is made of, where
    these are several or one is for evaluation. removed: what filters left out.
    """

    source: str
    format: str
    rows: Sequence[Row]
    content_hash: str
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    supervised: str = ""
    parts: tuple[SetPart, ...] = ()
    removed: tuple[RowsRemoved, ...] = ()

    @property
    def trainable_rows(self) -> int:
        """Rows outside a set of its own for evaluation."""
        return len(self.rows) - sum(part.rows for part in self.parts if part.is_evaluation)

    def named_row(self, number: int) -> str:
        """A row as a person finds it: `row 7`, or `row 7 of starter:json` in one of several."""
        part = next((one for one in reversed(self.parts) if number > one.added), None)
        return (
            tr("row {number}", number=number)
            if part is None
            else tr("row {number} of {source}", number=number - part.added, source=part.source)
        )


def hash_rows(rows: Iterable[Row]) -> str:
    """16 hexadecimal digits of a sha256 over every row's turns and text, in order."""
    digest = RowsDigest()
    for row in rows:
        digest.add(row)
    return digest.content_hash()


class RowsDigest:
    """`hash_rows`, row by row."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, row: Row) -> None:
        self._digest.update(row_content(row) + b"\n")

    def content_hash(self) -> str:
        return self._digest.hexdigest()[:16]


def row_content(row: Row) -> bytes:
    """Everything of a row but its number: equal for rows that are exactly the same."""
    turns = [_turn_parts(message) for message in row.messages]
    classes = [row.label, row.words, row.tags] if row.label or row.words else []
    tools = [row.tools] if row.tools else []
    rejected = [["rejected", *map(_turn_parts, row.rejected)]] if row.rejected else []
    verdict = [] if row.is_desirable is None else [["desirable", row.is_desirable]]
    more = [*classes, *tools, *rejected, *verdict]
    return json.dumps([turns, row.text, row.continues, *more]).encode()


def _turn_parts(turn: Message) -> tuple[str | bool, ...]:
    """A turn's parts; a plain turn is role and content, so hashes written before stay valid."""
    more = (turn.reasoning, turn.tool_calls, turn.extra, turn.is_learned)
    thoughts = () if turn.is_reasoning_learned else (turn.is_reasoning_learned,)
    plain = ("", "", "", True)
    return (turn.role, turn.content, *(more if thoughts or more != plain else ()), *thoughts)
