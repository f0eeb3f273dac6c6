"""What a file's columns mean beyond the format: preferences, weights, pictures, and what is unread.

A column that changes what a row means is refused, by name and with the number of rows, unless the
person named the columns to read; then a warning says what was set aside. The rest that is not read
is listed in a note. Knows nothing of turns or templates.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from lora_engine.data.field_values import UnknownFormat, is_empty, shortened
from lora_engine.data.preferences import (
    compared_columns,
    find_comparison,
    find_verdicts,
    plain_name,
    score_warnings,
)
from lora_engine.data.said import said
from lora_engine.data.table import Finding, Table, count_rows, is_number, number_in

WEIGHTS = re.compile(
    r"^((loss|sample|example|row|instance)_weight|weight|train|trainable|is_trainable)$"
)
_MEDIUM = r"(image|img|picture|photo|audio|speech|video|frame)s?"
MEDIA = re.compile(rf"^({_MEDIUM}(_?(path|url|file|bytes|data|base64|b64)s?)?|pixel_values|wav)$")
# Columns that usually hold a part of what is asked or answered.
SAYING = re.compile(
    r"^(answers?|choices|chosen|completion|contexts?|conversations?|documents?|functions|history|"
    r"input|instruction|messages|options|output|passage|prompt|query|question|reasoning|"
    r"reasoning_content|response|system|system_message|system_prompt|target|thinking|thoughts?|"
    r"tools)$"
)
CHATS = ("messages", "sharegpt", "alpaca", "prompt_completion")
PREFERENCES = ("preference", "kto")
MAX_NAMED = 20
# How pandas, R, SQL and spreadsheets write a cell without a value, or with a wrong one.
STAND_INS = frozenset(
    ("NULL", "null", "Null", "(null)", "\\N", "None", "nan", "NaN", "NAN", "-nan", "-NaN", "NaT")
    + ("<NA>", "NA", "N/A", "n/a", "#N/A", "#NA", "#NV", "#REF!", "#NAME?", "#VALUE!", "#DIV/0!")
    + ("#NULL!", "#NUM!", "undefined")
)
MAX_STAND_IN = 20


def refuse_comparisons(table: Table, source: str) -> None:
    """Raises UnknownFormat where rows hold a chosen and a rejected answer."""
    found = find_comparison(table)
    if found is not None:
        raise UnknownFormat(f"{source}: {found.problem}", found.remedy)


def check_meanings(
    table: Table, source: str, format: str, read: set[str], is_mapped: bool
) -> list[str]:
    """Warnings about columns outside `read` that change what the rows mean.

    read: the file's own names of the columns that the format reads. is_mapped: the person named
    them. Raises UnknownFormat for such columns where the person named none.
    """
    findings = list(_media(table, read))
    if format in CHATS:
        findings += find_verdicts(table, read)
    if format in (*CHATS, *PREFERENCES):
        findings += _weights(table, read)
    if findings and not is_mapped:
        problems = " ".join(finding.problem for finding in findings)
        raise UnknownFormat(
            f"{source}: {problems}",
            " ".join(f.remedy for f in findings),
        )
    better, worse = compared_columns(table)
    compared = find_comparison(table) if not read.intersection([*better, *worse]) else None
    if compared is not None:
        findings.append(compared)
    set_aside = [
        said("Other columns are named, but {problem}", problem=finding.problem)
        for finding in findings
    ]
    return set_aside + [*(() if format in PREFERENCES else score_warnings(table, read))]


class UnreadColumns:
    """Columns that hold something and are not read, gathered record by record.

    A column that usually holds a part of the question or answer gets a warning, unless its text
    stands in what was read too.
    """

    def __init__(self, names: Sequence[str], read: set[str], is_mapped: bool) -> None:
        """names: every column there is. is_mapped: the person named those that are read."""
        self._others = [name for name in names if name not in read]
        self._saying = {
            name for name in self._others if not is_mapped and SAYING.match(plain_name(name))
        }
        self._unread: set[str] = set()
        self._missed: dict[str, array[int]] = {}

    def add(self, number: int, fields: dict[str, Any], said: str) -> None:
        """One record that was read; said: all that was read of it."""
        for name in self._others:
            value = fields.get(name)
            if is_empty(value):
                continue
            self._unread.add(name)
            if name in self._saying and not _is_said(value, said):
                self._missed.setdefault(name, array("q")).append(number)

    def warnings(self) -> list[str]:
        missed = self._missed
        return [
            said(
                "Column {name} is not read: {count_rows}.",
                name=f"{name!r}",
                count_rows=count_rows(missed[name]),
            )
            for name in missed
        ]

    def notes(self) -> list[str]:
        unread = [name for name in self._others if name in self._unread.difference(self._missed)]
        quiet = [shortened(name) for name in unread]
        if not quiet:
            return []
        names, more = ", ".join(quiet[:MAX_NAMED]), len(quiet) - MAX_NAMED
        if more <= 0:
            return [said("Columns not read: {names}.", names=names)]
        return [said("Columns not read: {names} and {more} more.", names=names, more=f"{more:,}")]


class StandIns:
    """Texts that are nothing but a word by which programs say that a cell is empty, or wrong. They
    are kept as text, for an answer may be `None`; gathered record by record, for a warning."""

    def __init__(self, columns: Collection[str]) -> None:
        """columns: those whose texts are read, by the file's own names."""
        self._columns = sorted(columns)
        self._words: dict[str, dict[str, None]] = {}
        self._rows: dict[str, array[int]] = {}

    def add(self, number: int, fields: dict[str, Any]) -> None:
        for name in self._columns:
            value = fields.get(name)
            if isinstance(value, str) and len(value) < MAX_STAND_IN and value.strip() in STAND_INS:
                self._words.setdefault(name, {})[value.strip()] = None
                self._rows.setdefault(name, array("q")).append(number)

    def warnings(self) -> list[str]:
        return [
            said(
                "Column {name} holds {words} as text, which is learned or asked as it stands: "
                "{count_rows}. If nothing is meant, leave these cells empty or remove the rows.",
                name=f"{name!r}",
                words=", ".join(self._words[name]),
                count_rows=count_rows(rows),
            )
            for name, rows in self._rows.items()
        ]


def _is_said(value: Any, said: str) -> bool:
    """Whether all texts of a value stand in what was read; other values are not missed."""
    if isinstance(value, str):
        return value.strip() in said
    if isinstance(value, dict):
        return all(_is_said(value[key], said) for key in value if key not in ("role", "from"))
    return not isinstance(value, list) or all(_is_said(item, said) for item in value)


def _weights(table: Table, read: set[str]) -> Iterator[Finding]:
    """Columns that weigh rows, where a row's weight is not 1."""
    for name in table.names:
        if not WEIGHTS.match(plain_name(name)) or name in read:
            continue
        others = table.rows_where(name, lambda value: number_in(value) not in (None, 1.0))
        if others:
            yield Finding(
                said(
                    "column {name} gives {count_rows} another weight than 1; rows here all "
                    "weigh the same.",
                    name=f"{name!r}",
                    count_rows=count_rows(others),
                ),
                said(
                    "Remove the rows of {name} 0, repeat heavier ones, and remove the "
                    "column; or name the columns to read (dataset.columns).",
                    name=name,
                ),
            )


def _media(table: Table, read: set[str]) -> Iterator[Finding]:
    """Columns of pictures, sounds or films: by their name, or by the bytes they hold."""
    others = [name for name in table.names if name not in read]
    tests = {
        name: _is_no_number if MEDIA.match(plain_name(name)) else _is_binary for name in others
    }
    for name, rows in table.rows_where_each(tests).items():
        if rows:
            yield Finding(
                said(
                    "column {name} holds pictures, sound or video in {count_rows}, which are "
                    "not read: the model would learn answers to what it never sees.",
                    name=f"{name!r}",
                    count_rows=count_rows(rows),
                ),
                said(
                    "Keep rows of text alone. If the texts do not need {name}, name the "
                    "columns to read (dataset.columns) or remove it.",
                    name=f"{name!r}",
                ),
            )


def _is_no_number(value: Any) -> bool:
    return not is_number(value)


def _is_binary(value: Any) -> bool:
    if isinstance(value, bytes | bytearray | memoryview):
        return True
    if isinstance(value, list):
        return any(_is_binary(item) for item in value)
    if isinstance(value, dict):
        return any(_is_binary(item) for item in value.values())
    return type(value).__module__.partition(".")[0] == "PIL"
