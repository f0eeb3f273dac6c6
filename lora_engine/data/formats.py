"""From raw records to rows: which format they are in, and what each column means.

messages           messages: [{role, content}, ...]
sharegpt           conversations: [{from, value}, ...], system (optional)
alpaca             instruction, output; input, system and history (optional)
prompt_completion  prompt, completion; system (optional)
classification     text, label (a class for each text)
token_classification  tokens, tags (a class for each word)
text               text, supervised whole

Columns of other names are read by a mapping; the rest are ignored. Every wrong row is found before
anything is refused. This module knows nothing of files or tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lora_engine.data.json_rows import first_problems
from lora_engine.data.record_files import MAX_ROW_CHARACTERS, Record
from lora_engine.data.rows import Message, Row
from lora_engine.errors import EngineError

if TYPE_CHECKING:
    from lora_engine.spec import ColumnsSpec

MAX_LABEL_CHARACTERS = 200
NEEDED_COLUMNS = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "alpaca": ("instruction", "output"),
    "prompt_completion": ("prompt", "completion"),
    "token_classification": ("tokens", "tags"),
    "classification": ("text", "label"),
    "text": ("text",),
}
ROLE_NAMES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
REMEDY = "Correct or remove these rows. docs/data.md shows each format with an example."


class UnknownFormat(EngineError):
    """The columns are those of no format; a mapping can still read them."""


class _InvalidRow(Exception):
    """One row is wrong, and how; `parse_rows` collects these and reports them together."""


def parse_rows(
    records: list[Record], declared: str, source: str, columns: ColumnsSpec | None = None
) -> tuple[str, tuple[Row, ...]]:
    """The format and the rows of the records.

    declared: a key of `NEEDED_COLUMNS`, or "auto": the format of the first record.
    columns: where any is named, these are read and decide the format.
    Raises EngineError naming the first wrong rows, each with what is there and what is needed.
    """
    mapped = columns.format if columns is not None else None
    named = {} if columns is None else _format_columns(columns.named)
    found = mapped or declared
    if found == "auto":
        found = _format_of(records[0], source)
    rows, problems = [], []
    for record in records:
        try:
            rows.append(_parse_row(_select_columns(record, named) if mapped else record, found))
        except _InvalidRow as problem:
            problems.append(f"row {record.number}: {problem}")
    if problems:
        raise EngineError(first_problems(f"{source} (read as {found})", problems), REMEDY)
    return found, tuple(rows)


def column_names(records: list[Record]) -> tuple[str, ...]:
    """The names of the first record's columns; none where it is no object."""
    value = records[0].value
    return tuple(str(name) for name in value) if isinstance(value, dict) else ()


def _format_columns(named: dict[str, str]) -> dict[str, str]:
    """Format column to the person's column: what a mapping calls answer is a completion here."""
    return {("completion" if role == "answer" else role): name for role, name in named.items()}


def _select_columns(record: Record, named: dict[str, str]) -> Record:
    """The record with the mapped columns alone, under the format's own names."""
    fields = record.value
    missing = [
        name for name in named.values() if not isinstance(fields, dict) or name not in fields
    ]
    if missing:
        raise _InvalidRow(_no_column(missing, fields))
    return Record(record.number, {role: fields[name] for role, name in named.items()})


def _no_column(missing: list[str], fields: Any) -> str:
    names = " and ".join(repr(_shortened(column)) for column in missing)
    return f"no column {names}; it {_what_is_there(fields)}"


def _format_of(record: Record, source: str) -> str:
    fields = record.value if isinstance(record.value, dict) else {}
    for name, needed in NEEDED_COLUMNS.items():
        if all(column in fields for column in needed):
            return name
    known = "; ".join(f"{name}: {', '.join(cols)}" for name, cols in NEEDED_COLUMNS.items())
    problem = UnknownFormat if fields else EngineError
    raise problem(
        f"{source}, row {record.number} fits no known format: it {_what_is_there(record.value)}.",
        f"Say which column holds what (dataset.columns), or name them after a format ({known}).",
    )


def _parse_row(record: Record, found: str) -> Row:
    """One row in the format `found`. Raises _InvalidRow."""
    fields = record.value
    needed = NEEDED_COLUMNS[found]
    missing = [column for column in needed if not isinstance(fields, dict) or column not in fields]
    if missing:
        raise _InvalidRow(_no_column(missing, fields))
    if found in ("text", "classification"):
        label = _label(fields["label"], "label") if found == "classification" else None
        text = _text(fields["text"], "text")
        row = Row(record.number, (), text, label=label)
        if not text.strip():
            raise _InvalidRow("column 'text' is empty")
    elif found == "token_classification":
        row = _parse_tags(record)
    else:
        row = Row(record.number, tuple(_messages(fields, found)), None)
    if row.characters > MAX_ROW_CHARACTERS:
        raise _InvalidRow(f"{row.characters:,} characters; at most {MAX_ROW_CHARACTERS:,} are read")
    return row


def _parse_tags(record: Record) -> Row:
    """A row of words and a tag for each."""
    tokens, tags = record.value["tokens"], record.value["tags"]
    for column, value in (("tokens", tokens), ("tags", tags)):
        if not isinstance(value, list) or not value:
            raise _InvalidRow(f"column {column!r} is {_kind(value)}, a list is needed")
    if len(tokens) != len(tags):
        raise _InvalidRow(f"{len(tokens)} tokens and {len(tags)} tags; one tag a token is needed")
    words = tuple(_text(word, f"tokens[{place}]") for place, word in enumerate(tokens, start=1))
    labels = tuple(_label(tag, f"tags[{place}]") for place, tag in enumerate(tags, start=1))
    return Row(record.number, (), None, words=words, tags=labels)


def _label(value: Any, where: str) -> str:
    """A class's name; a whole number is a name too."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = _shortened(value)
    text = _text(value, where).strip()
    if not text or len(text) > MAX_LABEL_CHARACTERS:
        raise _InvalidRow(
            f"{where} has {len(text):,} characters; 1 to {MAX_LABEL_CHARACTERS} allowed"
        )
    return text


def _messages(fields: dict, found: str) -> list[Message]:
    """The turns of a row in one of the chat formats. Raises _InvalidRow."""
    system = _optional_text(fields.get("system"), "system")
    opening = [Message("system", system)] if system else []
    if found == "messages":
        return _parse_turns(fields["messages"], "messages")
    if found == "sharegpt":
        return opening + _parse_turns(fields["conversations"], "conversations")
    if found == "prompt_completion":
        return [
            *opening,
            Message("user", _text(fields["prompt"], "prompt")),
            Message("assistant", _text(fields["completion"], "completion")),
        ]
    question = _text(fields["instruction"], "instruction")
    extra = _optional_text(fields.get("input"), "input")
    if extra:
        question = f"{question}\n\n{extra}"
    answer = Message("assistant", _text(fields["output"], "output"))
    return [*opening, *_parse_history(fields.get("history")), Message("user", question), answer]


def _parse_turns(value: Any, column: str) -> list[Message]:
    """A list of {role, content} or {from, value} objects as messages."""
    if not isinstance(value, list):
        raise _InvalidRow(f"column {column!r} is {_kind(value)}, a list of turns is needed")
    if not value:
        raise _InvalidRow(f"column {column!r} has no turns")
    messages = []
    for position, turn in enumerate(value, start=1):
        where = f"{column}[{position}]"
        if not isinstance(turn, dict):
            raise _InvalidRow(f"{where} is {_kind(turn)}, an object is needed")
        role_key, content_key = ("role", "content") if "role" in turn else ("from", "value")
        if role_key not in turn or content_key not in turn:
            raise _InvalidRow(
                f"{where} needs role and content (or from and value); it {_what_is_there(turn)}"
            )
        role = turn[role_key]
        if not isinstance(role, str) or role not in ROLE_NAMES:
            raise _InvalidRow(
                f"{where} has the unknown role {_shortened(role)}; known: {', '.join(ROLE_NAMES)}"
            )
        messages.append(Message(ROLE_NAMES[role], _text(turn[content_key], where)))
    return messages


def _parse_history(value: Any) -> list[Message]:
    """Alpaca's earlier turns: a list of [question, answer] pairs."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise _InvalidRow(f"column 'history' is {_kind(value)}, a list of pairs is needed")
    messages = []
    for position, pair in enumerate(value, start=1):
        where = f"history[{position}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise _InvalidRow(f"{where} is {_kind(pair)}, a pair of texts is needed")
        messages += [
            Message("user", _text(pair[0], where)),
            Message("assistant", _text(pair[1], where)),
        ]
    return messages


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _InvalidRow(f"{where} is {_kind(value)}, text is needed")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _InvalidRow(f"{where} holds half a surrogate pair at {error.start}") from None
    return value


def _optional_text(value: Any, where: str) -> str:
    """As `_text`; None and NaN (how tables write a cell without a value) are empty."""
    if value is None or value != value:  # noqa: PLR0124 (only NaN differs from itself)
        return ""
    return _text(value, where)


def _kind(value: Any) -> str:
    """A value's kind as the file's author would call it."""
    if value is None:
        return "empty (null)"
    if isinstance(value, bool):
        return f"true/false ({value})"
    if isinstance(value, int | float):
        return "NaN" if value != value else f"a number ({_shortened(value)})"  # noqa: PLR0124
    names = {"str": "text", "list": "a list", "dict": "an object"}
    kind = type(value).__name__
    return names.get(kind, kind)


def _what_is_there(value: Any) -> str:
    if not isinstance(value, dict):
        return f"is {_kind(value)}"
    if not value:
        return "has no columns"
    names = [_shortened(name) for name in value]
    return f"has {', '.join(names[:12])}{' and more' if len(names) > 12 else ''}"


def _shortened(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
    except ValueError:  # an integer with more digits than Python prints
        text = "a very long number"
    return text if len(text) <= 40 else text[:37] + "..."
