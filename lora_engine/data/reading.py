"""How a file's columns are read: which format they are in, and which column means what.

The format is found from the names of the first record's columns, declared, or made by the columns
that a person names. Knows nothing of what a row's values hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lora_engine.data.chat_rows import HISTORY, SYSTEMS, TOOLS
from lora_engine.data.column_meanings import CHATS, refuse_comparisons
from lora_engine.data.field_values import UnknownFormat, keys_of
from lora_engine.data.format_names import other_names
from lora_engine.data.preferences import pair_columns, plain_name, verdict_column
from lora_engine.data.records import Record
from lora_engine.data.table import Table
from lora_engine.data.turn_content import THOUGHT_KEYS
from lora_engine.errors import EngineError
from lora_engine.language import tr

if TYPE_CHECKING:
    from lora_engine.spec import ColumnsSpec

NEEDED_COLUMNS = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "alpaca": ("instruction", "output"),
    "prompt_completion": ("prompt", "completion"),
    "token_classification": ("tokens", "tags"),
    "classification": ("text", "label"),
    "text": ("text",),
    "preference": ("chosen", "rejected"),
    "kto": ("prompt", "completion", "label"),
}
_BESIDES = {
    "messages": (*SYSTEMS, *TOOLS),
    "sharegpt": (*SYSTEMS, *TOOLS),
    "alpaca": ("input", HISTORY, *SYSTEMS, *TOOLS, *THOUGHT_KEYS),
    "prompt_completion": (*SYSTEMS, *TOOLS, *THOUGHT_KEYS),
    "preference": ("prompt", *SYSTEMS, *TOOLS),
}


@dataclass(frozen=True)
class Reading:
    """How records are read.

    names: the format's column to the file's, where they differ. is_mapped: a person named them, and
    no other column is read. chat, verdict: for kto, the format of the chat and the column that
    judges its answer.
    """

    format: str
    names: dict[str, str]
    is_mapped: bool
    chat: str = ""
    verdict: str = ""

    def columns_read(self, table: Table) -> set[str]:
        """The file's own names of the columns that are read."""
        if self.is_mapped:
            return set(self.names.values())
        own = {
            *NEEDED_COLUMNS[self.chat or self.format],
            *_BESIDES.get(self.chat or self.format, ()),
        }
        read = {*self.names.values(), *own.difference(self.names), self.verdict}
        return read.intersection(table.names)

    def columns_of_classes(self) -> set[str]:
        """The file's own names of the columns whose values are classes or judgements, no texts."""
        return {self.names.get(name, name) for name in ("label", "tags")} | {self.verdict}

    def record(self, record: Record) -> Record:
        """The record with its columns under the format's own names."""
        fields = record.value
        if not self.names or not isinstance(fields, dict):
            return record
        renamed = {role: fields[name] for role, name in self.names.items() if name in fields}
        left = (
            {} if self.is_mapped else {k: fields[k] for k in fields if k not in self.names.values()}
        )
        return Record(record.number, {**left, **renamed})


def reading_of(table: Table, declared: str, source: str, columns: ColumnsSpec | None) -> Reading:
    """How to read the records. Raises UnknownFormat for columns of no format, or preferences."""
    mapped = columns.format if columns is not None else None
    if columns is not None and mapped is not None:
        # what a mapping calls answer is a completion here
        names = {("completion" if k == "answer" else k): v for k, v in columns.named.items()}
        chat = ("prompt_completion", "label") if mapped == "kto" else ("", "")
        return Reading(mapped, names, True, *chat)
    pair = pair_columns(table) if declared in ("auto", "preference") else {}
    if pair or declared == "preference":
        return Reading("preference", {k: v for k, v in pair.items() if k != v}, is_mapped=False)
    if declared not in ("classification", "token_classification"):
        refuse_comparisons(table, source)
    if declared not in ("auto", "kto"):
        return Reading(declared, {}, is_mapped=False)
    found = _found_format(table, source)
    judged = found.format in CHATS and verdict_column(
        table, found.columns_read(table), needs_a_no=declared == "auto"
    )
    if judged:
        return Reading("kto", found.names, is_mapped=False, chat=found.format, verdict=judged)
    if declared == "kto":
        raise UnknownFormat(
            tr(
                "{source} was to be read as kto, and no column says of each answer whether "
                "it is good.",
                source=source,
            ),
            tr("Name the columns (dataset.columns with prompt, answer and label)."),
        )
    return found


def _found_format(table: Table, source: str) -> Reading:
    """The format of the first record. Raises UnknownFormat where its columns are those of none."""
    first = table.records[0]
    fields = first.value if isinstance(first.value, dict) else {}
    found = _format_of(fields) or _format_in_other_spelling(fields)
    if found is None:
        raise no_known_format(first, source)
    return Reading(*found, is_mapped=False)


def _format_of(fields: dict[str, Any]) -> tuple[str, dict[str, str]] | None:
    """The format whose columns a record has, and the format's names to the record's."""
    for name, needed in NEEDED_COLUMNS.items():
        if all(column in fields for column in needed):
            return name, other_names(name, fields)
    found = other_names("auto", fields)
    for name, needed in NEEDED_COLUMNS.items():
        if found and set(needed) <= {*found, *fields}:
            return name, found
    return None


def _format_in_other_spelling(fields: dict[str, Any]) -> tuple[str, dict[str, str]] | None:
    """As `_format_of` for names such as `Question` and `System prompt`; None where two columns
    would have one name."""
    spelled = {plain_name(name): name for name in fields}
    found = _format_of({plain: fields[name] for plain, name in spelled.items()})
    if found is None or len(spelled) < len(fields):
        return None
    format, names = found
    own = (*NEEDED_COLUMNS[format], *_BESIDES.get(format, ()))
    meant = {column: column for column in own if column in spelled} | names
    return format, {column: spelled[n] for column, n in meant.items() if spelled[n] != column}


def no_known_format(record: Record, source: str) -> EngineError:
    """What is said of a record whose columns are those of no format; UnknownFormat where a mapping
    of its columns could read it."""
    known = "; ".join(f"{name}: {', '.join(cols)}" for name, cols in NEEDED_COLUMNS.items())
    problem = UnknownFormat if isinstance(record.value, dict) and record.value else EngineError
    return problem(
        tr(
            "{source}, row {number} fits no known format: it {keys_of}.",
            source=source,
            number=record.number,
            keys_of=keys_of(record.value),
        ),
        tr(
            "Say which column holds what (dataset.columns), or name them after a format ({known}).",
            known=known,
        ),
    )
