"""The records of a JSON text: one value a line, an array, or one of the forms that tables take.

| what stands there | how it is read |
|---|---|
| an array | its elements |
| one value a line, blank lines between | JSON Lines |
| objects over several lines, one or more | one record each |
| one object whose only list of objects is `data`, `train`, `rows`, ... | that list |
| one object of columns: `{"q": {"0": ...}}`, `{"q": [...], "a": [...]}` (pandas) | its rows |
| `{"columns": [...], "data": [[...]]}` (pandas, split) | its rows |
| `{"0": {...}, "1": {...}}` (pandas, index) | its rows |
| one object with several lists of rows | refused: they are named |
| a name twice in one object, what is no JSON | refused: line and column are named |

This module knows nothing of files or of what the names mean.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO

from lora_engine.data.json_array import ElementTooLarge, array_elements
from lora_engine.data.problems import SHOWN, Problems
from lora_engine.errors import EngineError
from lora_engine.foreign_files import SINGLE_QUOTES, json_complaint
from lora_engine.language import tr, translatable

if TYPE_CHECKING:
    from lora_engine.data.text_file import TextFile

LISTS_OF_ROWS = (
    "data", "train", "training", "rows", "examples", "items", "records", "instances", "samples",
    "dataset",
)  # fmt: skip
ROW_COLUMNS = ("messages", "conversations", "tokens", "chosen", "rejected", "history", "tools")
"""Columns whose value is a list in a single row."""

MAX_VALUES, MAX_LINE_VALUES = 3_000_000, 1_000_000
"""Of one document and of one line. Three characters of `[],[],` make 70 bytes of memory."""
_TEXT = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_REMEDY = translatable("Give one JSON object on each line, or one JSON array of objects.")
Numbered = tuple[int, Any]


def json_rows(text: str, source: str, most: int) -> list[Numbered]:
    """Number and value of each record: the line it begins in, or its place in an array.

    No more than `most` lines are read.

    Raises EngineError naming the first places that are no JSON.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    _refuse_many_values(text, source)
    if text.lstrip()[:1] == "[":
        return list(enumerate(_array(text, source), start=1))
    if _spans_lines(text):
        found = _documents(text, source, most)
    else:
        found = list(islice(_values(text.split("\n"), source), most))
    if len(found) == 1 and isinstance(found[0][1], dict):
        inside = _rows_inside(found[0][1], source)
        return found if inside is None else list(enumerate(inside, start=1))
    return found


def _refuse_many_values(text: str, source: str) -> None:
    """Raises EngineError for a document whose values would need far more memory than its text."""
    if _has_more_values(text, MAX_VALUES):
        raise EngineError(
            tr(
                "{source} is one JSON document of more than {max_values} values; only rows "
                "on lines of their own are read from a larger file.",
                source=source,
                max_values=f"{MAX_VALUES:,}",
            ),
            tr("Save the rows as JSON Lines: one object on each line."),
        )


def _has_more_values(text: str, most: int) -> bool:
    return len(text) > most and _marks(text) > most and _marks(_TEXT.sub("", text)) > most


def _marks(text: str) -> int:
    """As many as there are values or more, where no texts with such characters are among them."""
    return text.count("[") + text.count("{") + text.count(",")


def are_lines(file: TextFile) -> bool:
    """Whether the file has one value on each line, and more than one. Raises EngineError as
    `TextFile` does."""
    most = file.bounds.line
    with file.opened(None) as text:
        first = _next_line(text, most)
        has_more = len(first) <= most and bool(_next_line(text, most))
    return has_more and first.lstrip()[:1] != "[" and not _spans_lines(first)


def json_lines(file: TextFile, is_checked: bool = False) -> Iterator[Numbered]:
    """Number and value of each line that is not blank, as they are asked for.

    is_checked: the file was read before, so no name stands in one object twice.
    Raises EngineError naming the first lines that are no JSON, and as `TextFile` does.
    """
    return _values(file.lines(None), file.source, json.loads if is_checked else _DECODER.decode)


def is_array(file: TextFile) -> bool:
    """Whether the file begins as an array does."""
    return file.head.lstrip()[:1] == "["


def json_array(file: TextFile) -> Iterator[Numbered]:
    """Place and value of each element of the array that the file is, as they are asked for.

    Raises EngineError where it is none, and as `TextFile` does.
    """
    most = file.bounds.line
    with file.opened(None) as text:
        try:
            yield from array_elements(
                text, _DECODER, most, lambda read: _has_more_values(read, MAX_LINE_VALUES)
            )
        except ElementTooLarge as error:
            raise EngineError(
                tr(
                    "{source}, row {number} has more than {most} characters or {values} values.",
                    source=file.source,
                    number=f"{error.number:,}",
                    most=f"{most:,}",
                    values=f"{MAX_LINE_VALUES:,}",
                ),
                tr(_REMEDY),
            ) from None
        except UnicodeDecodeError:
            raise
        except (ValueError, RecursionError) as error:
            raise _no_array(file.source, error) from None


def _next_line(text: TextIO, most: int) -> str:
    """The next line that is not blank, its first `most` + 1 characters; empty at the end."""
    while line := text.readline(most + 1):
        if line.strip():
            return line
    return ""


def _remedy(text: str, problem: str) -> str:
    if tr(SINGLE_QUOTES) in problem or "None" in problem or "True" in problem:
        return tr("Write the rows with Python's json.dumps, one object on each line.")
    if text.lstrip()[:1] not in ("{", "[", '"'):
        return tr(
            "Give the file the ending of what it holds (.csv, .tsv, .txt). Or: {remedy}",
            remedy=tr(_REMEDY),
        )
    return tr(_REMEDY)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the name {twice[:100]!r} stands in one object twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _array(text: str, source: str) -> list[Any]:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise _no_array(source, error) from None


def _no_array(source: str, error: Exception) -> EngineError:
    return EngineError(
        tr(
            "{source} starts as a JSON array and is not one: {json_complaint}.",
            source=source,
            json_complaint=json_complaint(error),
        ),
        tr(_REMEDY),
    )


def _values(
    lines: Iterable[str], source: str, decode: Callable[[str], Any] = _DECODER.decode
) -> Iterator[Numbered]:
    """The values of JSON Lines. Raises EngineError for lines that are none: at the end, or when as
    many are found as are named."""
    problems = Problems()
    first = ""
    for number, line in enumerate(lines, start=1):
        line = line.removesuffix("\n").removeprefix("\ufeff")  # files joined, each with its mark
        if not line.strip():
            continue
        if len(problems) == SHOWN:
            break
        first = first or line
        if _has_more_values(line, MAX_LINE_VALUES):
            problems.add(
                tr(
                    "line {number}: more than {max_line_values} values",
                    number=number,
                    max_line_values=f"{MAX_LINE_VALUES:,}",
                )
            )
            continue
        try:
            value = decode(line)
        except (ValueError, RecursionError) as error:
            problems.add(
                tr(
                    "line {number}: not JSON ({json_complaint})",
                    number=number,
                    json_complaint=json_complaint(error, one_line=True),
                )
            )
            continue
        if not problems:  # nothing more is kept of a set that is refused
            yield number, value
    if problems:
        raise EngineError(problems.sentence(source), _remedy(first, problems.first[0]))


def _spans_lines(text: str) -> bool:
    """Whether the first object goes on after its first line."""
    first = text.lstrip().partition("\n")[0].rstrip()
    if not first.startswith("{") or _has_more_values(first, MAX_LINE_VALUES):
        return False
    try:
        _DECODER.decode(first)
    except json.JSONDecodeError as error:
        ended = error.msg.startswith("Extra data")
        return not ended and (not first[error.pos :].strip() or first.endswith((",", "{", "[")))
    except (ValueError, RecursionError):
        return False
    return False


def _documents(text: str, source: str, most: int) -> list[Numbered]:
    """Objects one after another, each over as many lines as it likes."""
    found: list[Numbered] = []
    place, line, counted = _next(text, 0), 1, 0
    while place < len(text) and len(found) < most:
        line += text.count("\n", counted, place)
        counted = place
        if text[place] == "," and found:
            raise EngineError(
                tr(
                    "{source}, line {line}: a comma stands between objects that no array holds.",
                    source=source,
                    line=f"{line:,}",
                ),
                tr("Put [ before the first object and ] behind the last."),
            )
        try:
            value, end = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            raise EngineError(
                tr(
                    "{source}: the object that begins in line {line} is not JSON "
                    "({json_complaint}).",
                    source=source,
                    line=f"{line:,}",
                    json_complaint=json_complaint(error),
                ),
                tr(_REMEDY),
            ) from None
        found.append((line, value))
        place = _next(text, end)
    return found


def _next(text: str, place: int) -> int:
    """The place of the next character that is not white space."""
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _rows_inside(value: dict[str, Any], source: str) -> list[Any] | None:
    """The rows that one object holds as a table does, or None where it is a row itself."""
    if any(name in ROW_COLUMNS or _are_turns(item) for name, item in value.items()):
        return None
    if {"columns", "data"} <= set(value) and _is_list_of(value["data"], list):
        names = [str(name) for name in value["columns"]]
        return [_row(names, cells, source) for cells in value["data"]]
    lists = {name: item for name, item in value.items() if _is_list_of(item, dict)}
    if len(lists) > 1:
        shown = ", ".join(f"{name} ({len(items):,})" for name, items in list(lists.items())[:5])
        raise EngineError(
            tr(
                "{source} is one object with several lists of rows: {shown}.",
                source=source,
                shown=shown,
            ),
            tr("Save the one to train on as a file of its own."),
        )
    if lists and next(iter(lists)).lower() in LISTS_OF_ROWS:
        return next(iter(lists.values()))
    return _columns(value, source)


def _are_turns(value: Any) -> bool:
    """Whether it is a conversation, which is one column of one row."""
    return _is_list_of(value, dict) and all("role" in turn or "from" in turn for turn in value)


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, kind) for item in value)


def _row(names: list[str], cells: list[Any], source: str) -> dict[str, Any]:
    if len(cells) != len(names):
        raise EngineError(
            tr(
                "{source} has a row of {count} values under {count_2} column names.",
                source=source,
                count=len(cells),
                count_2=len(names),
            ),
            tr(_REMEDY),
        )
    return dict(zip(names, cells, strict=True))


def _columns(value: dict[str, Any], source: str) -> list[Any] | None:
    """The rows of a table stored by columns, or by its index; None for anything else."""
    items = list(value.values())
    if items and all(isinstance(item, dict) for item in items):
        if all(name.isdecimal() for name in value):
            return items
        index = list(items[0])
        if index and all(key.isdecimal() for key in index):
            if any(list(item) != index for item in items):
                raise EngineError(
                    tr(
                        "{source} is a table stored by columns, and they have different rows.",
                        source=source,
                    ),
                    tr(_REMEDY),
                )
            return [{name: value[name][key] for name in value} for key in index]
    if len(items) > 1 and all(isinstance(item, list) for item in items):
        lengths = {name: len(item) for name, item in value.items()}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name} {length:,}" for name, length in list(lengths.items())[:6])
            raise EngineError(
                tr(
                    "{source} is one object of lists, whose lengths differ: {shown}.",
                    source=source,
                    shown=shown,
                ),
                tr(_REMEDY),
            )
        return [dict(zip(value, cells, strict=True)) for cells in zip(*items, strict=True)]
    return None
