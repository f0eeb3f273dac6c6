"""From raw records to rows: which format they are in, and what each column means.

messages           messages: [{role, content}, ...]
sharegpt           conversations: [{from, value}, ...]
alpaca             instruction, output; input and history (optional)
prompt_completion  prompt, completion: texts, or turns
classification     text, label (a class for each text)
token_classification  tokens, tags (a class for each word)
text               text, supervised whole
preference         chosen, rejected, prompt (optional): texts, or turns
kto                a chat, and label: whether its answer is good

Chats may have system, tools and, beside a plain answer, its thoughts. Common other names of the
same columns are found too; any others are read by a mapping. Every wrong row is found before
anything is refused. This module knows nothing of files or tokens.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from lora_engine.data.chat_rows import (
    ParsedChat,
    parse_chat,
    with_learned_turns,
)
from lora_engine.data.column_meanings import (
    CHATS,
    StandIns,
    UnreadColumns,
    check_meanings,
)
from lora_engine.data.field_values import (
    InvalidRow,
    keys_of,
    kind_of,
    shortened,
    text_of,
)
from lora_engine.data.picked import Keep
from lora_engine.data.preference_rows import on_both_sides, parse_judged, parse_pair
from lora_engine.data.preferences import how_to_learn
from lora_engine.data.problems import Problems
from lora_engine.data.reading import NEEDED_COLUMNS, Reading, no_known_format, reading_of
from lora_engine.data.record_files import MAX_ROW_CHARACTERS
from lora_engine.data.records import Record
from lora_engine.data.rows import Row
from lora_engine.data.said import said
from lora_engine.data.table import Table, count_rows
from lora_engine.data.thoughts import apply_setting
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable

if TYPE_CHECKING:
    from lora_engine.spec import ColumnsSpec

MAX_LABEL_CHARACTERS = 200
JUDGED = 20
"""Records whose form is looked at before all are read."""
REMEDY = translatable(
    "Correct or remove these rows. docs/data.md shows each format with an example."
)


@dataclass(frozen=True)
class ParsedRows:
    """The format that was found, the rows, and what is to be said about how they were read."""

    format: str
    rows: Sequence[Row]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    supervised: str = ""


def parse_rows(
    records: Sequence[Record],
    declared: str,
    source: str,
    columns: ColumnsSpec | None = None,
    reasoning: str = "learn",
    turns: str = "all",
    keep: Keep[Row] = tuple,
) -> ParsedRows:
    """The rows of the records, in the format found.

    declared: a key of `NEEDED_COLUMNS`, or "auto": the format of the first record.
    columns: where any is named, these are read and decide the format.
    reasoning: whether thoughts are to learn, to keep or to strip (`thoughts.apply_setting`).
    turns: which answers are learned, all or the last (`chat_rows.with_learned_turns`).
    keep: holds the rows, which it is given one by one; in memory where nothing is said.
    Raises EngineError naming the first wrong rows, each with what is there and what is needed;
    UnknownFormat where another choice of columns could be read.
    """
    _refuse_without_columns(records, source)
    table = Table(records)
    reading = reading_of(table, declared, source, columns)
    read = reading.columns_read(table)
    meanings = check_meanings(table, source, reading.format, read, reading.is_mapped)
    unread = UnreadColumns(table.names, read, reading.is_mapped)
    stand_ins = StandIns(read - reading.columns_of_classes())
    in_turns = _TurnWarnings()

    def parsed() -> Iterator[Row]:
        problems = Problems()
        for record in records:
            try:
                chat = _parse(record, reading)
                row = on_both_sides(
                    chat.row, lambda side: with_learned_turns(apply_setting(side, reasoning), turns)
                )
            except InvalidRow as problem:
                problems.add(tr("row {number}: {problem}", number=record.number, problem=problem))
                continue
            if not problems:  # no row is kept of a set that is refused
                unread.add(record.number, record.value, _said(row))
                stand_ins.add(record.number, record.value)
                in_turns.add(chat)
                yield row
        if problems:
            raise EngineError(
                problems.sentence(
                    tr("{source} (read as {format})", source=source, format=reading.format)
                ),
                tr(REMEDY),
            )

    rows = keep(parsed())
    warnings = (*meanings, *unread.warnings(), *stand_ins.warnings(), *in_turns.warnings())
    notes = (*_names_note(reading), *unread.notes())
    supervised = how_to_learn(table) if reading.format == "preference" else ""
    return ParsedRows(reading.format, rows, warnings, notes, supervised)


def column_names(records: Sequence[Record]) -> tuple[str, ...]:
    """The names of the first record's columns; none where it is no object, or there is none."""
    value = records[0].value if records else None
    return tuple(str(name) for name in value) if isinstance(value, dict) else ()


def _refuse_without_columns(records: Sequence[Record], source: str) -> None:
    """Raises EngineError where none of the first records has a column: ten million empty lists are
    not gone through to say so."""
    first = list(islice(iter(records), JUDGED))
    if first and not any(isinstance(record.value, dict) and record.value for record in first):
        raise no_known_format(first[0], source)


def _parse(original: Record, reading: Reading) -> ParsedChat:
    """One row in the format. Raises InvalidRow."""
    if reading.is_mapped:
        own = list(reading.names.values())
    else:
        needed = NEEDED_COLUMNS[reading.chat or reading.format]
        own = [reading.names.get(name, name) for name in needed]
        own += [reading.verdict] if reading.verdict else []
    fields = original.value
    missing = [name for name in own if not isinstance(fields, dict) or name not in fields]
    if missing:
        names = ", ".join(repr(shortened(column)) for column in missing)
        raise InvalidRow(
            tr("no column {names}; it {keys_of}", names=names, keys_of=keys_of(fields))
        )
    record = reading.record(original)
    if reading.format in CHATS:
        chat = parse_chat(record.number, record.value, reading.format)
    elif reading.format == "preference":
        chat = parse_pair(record.number, record.value)
    elif reading.format == "kto":
        chat = parse_judged(record.number, record.value, reading.chat, reading.verdict)
    else:
        chat = ParsedChat(_parse_text(record, reading.format))
    if chat.row.characters > MAX_ROW_CHARACTERS:
        raise InvalidRow(
            tr(
                "{characters} characters; at most {max_row_characters} are read",
                characters=f"{chat.row.characters:,}",
                max_row_characters=f"{MAX_ROW_CHARACTERS:,}",
            )
        )
    return chat


def _parse_text(record: Record, format: str) -> Row:
    """A row of plain text, of a text with its class, or of words with their classes."""
    if format == "token_classification":
        return _parse_tags(record)
    label = _label(record.value["label"], "label") if format == "classification" else None
    text = text_of(record.value["text"], "text")
    if not text.strip():
        raise InvalidRow(tr("column 'text' is empty"))
    return Row(record.number, (), text, label=label)


def _parse_tags(record: Record) -> Row:
    """A row of words and a tag for each."""
    tokens, tags = record.value["tokens"], record.value["tags"]
    for column, value in (("tokens", tokens), ("tags", tags)):
        if not isinstance(value, list) or not value:
            found = tr("an empty list") if isinstance(value, list) else kind_of(value)
            raise InvalidRow(
                tr(
                    "column {column} is {found}, a list of words is needed",
                    column=f"{column!r}",
                    found=found,
                )
            )
    if len(tokens) != len(tags):
        raise InvalidRow(
            tr(
                "{count} tokens and {count_2} tags; one tag a token is needed",
                count=len(tokens),
                count_2=len(tags),
            )
        )
    words = tuple(text_of(word, f"tokens[{place}]") for place, word in enumerate(tokens, start=1))
    labels = tuple(_label(tag, f"tags[{place}]") for place, tag in enumerate(tags, start=1))
    return Row(record.number, (), None, words=words, tags=labels)


def _label(value: Any, where: str) -> str:
    """A class's name; a whole number is a name too."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = shortened(value)
    if isinstance(value, float):
        raise InvalidRow(
            tr(
                "{where} is {kind_of}; a class is a text or a whole number",
                where=where,
                kind_of=kind_of(value),
            )
        )
    text = text_of(value, where).strip()
    if not text or len(text) > MAX_LABEL_CHARACTERS:
        raise InvalidRow(
            tr(
                "{where} has {count} characters; 1 to {max_label_characters} allowed",
                where=where,
                count=f"{len(text):,}",
                max_label_characters=MAX_LABEL_CHARACTERS,
            )
        )
    return text


def _said(row: Row) -> str:
    """All texts of a row, to look for a text in."""
    turns = [f"{turn.content}\n{turn.reasoning}" for turn in (*row.messages, *row.rejected)]
    return "\n".join([row.text or "", *row.words, *turns])


def _names_note(reading: Reading) -> list[str]:
    if reading.is_mapped or not reading.names:
        return []
    read = ", ".join(
        said("{name} as {role}", name=name, role=role) for role, name in reading.names.items()
    )
    return [said("Columns found by their usual names: {read}.", read=read)]


class _TurnWarnings:
    """What turns say that is not honoured, by key, gathered row by row."""

    def __init__(self) -> None:
        self._unread: dict[str, array[int]] = {}
        self._asking: dict[str, array[int]] = {}

    def add(self, chat: ParsedChat) -> None:
        for key in sorted(chat.unread):
            self._unread.setdefault(key, array("q")).append(chat.row.number)
        for key in sorted(chat.unlearned):
            self._asking.setdefault(key, array("q")).append(chat.row.number)

    def warnings(self) -> Sequence[str]:
        return [
            said(
                "Key {shortened} of turns is not read: {count_rows}.",
                shortened=f"{shortened(key)!r}",
                count_rows=count_rows(rows),
            )
            for key, rows in self._unread.items()
        ] + [
            said(
                "{key} asks to learn turns that are not the assistant's, which are never "
                "learned: {count_rows}.",
                key=key,
                count_rows=count_rows(rows),
            )
            for key, rows in self._asking.items()
        ]
