"""Rows that compare or judge answers: preference data, known by the names of its columns.

Chosen and rejected answers (DPO), two answers side by side, and answers labelled true or false
(KTO), as the makers of such sets name their columns. Supervised training would learn every answer
as a good one, so such rows need an objective of their own. Knows nothing of turns or templates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from lora_engine.data.field_values import flag_of, is_empty
from lora_engine.data.said import said
from lora_engine.data.table import Finding, Table, count_rows, is_number, number_in

_SIDE = r"(response|answer|completion|output|text)s?"
BETTER = re.compile(rf"((^|_)(chosen|preferred)(_|$)|^(better|winning|winner|win)_{_SIDE}$)")
WORSE = re.compile(
    r"((^|_)(rejects?|rejected|dispreferred|non_?preferred|unpreferred)(_|$)|"
    rf"^(worse|losing|loser|lose)_{_SIDE}$)"
)
# Two answers side by side, such as response_j and response_k.
PAIRED = re.compile(
    r"^(response|answer|completion|output|conversation|reply|generation|chat)s?_?"
    r"(a|b|j|k|w|l|0|1|2)$"
)
VERDICTS = re.compile(
    r"^(labels?|kto_(tag|label)|(is_)?(desirable|good|accepted|approved|liked|preferred)|is_chosen|"
    r"is_(helpful|acceptable)|thumbs_up|thumbs?|vote|verdict|feedback)$"
)
# A yes or no in words, which is one only of an answer: in other columns it may be a class.
_YES = frozenset(
    ("yes", "good", "desirable", "chosen", "preferred", "accepted", "correct", "1.0", "👍")
    + ("up", "thumbs up", "thumbs_up", "thumbsup", "like", "liked")
)
_NO = frozenset(
    ("no", "bad", "undesirable", "rejected", "dispreferred", "incorrect", "wrong", "0.0", "👎")
    + ("down", "thumbs down", "thumbs_down", "thumbsdown", "dislike", "disliked", "-1", "-1.0")
)
SCORES = re.compile(
    r"(^|_)(score|scores|reward|rewards|rating|ratings|margin|correct|verified|passed)(_|$)"
)
# Where the question of a preference stands.
ASKED = ("conversations", "prompt", "question", "instruction", "query", "input", "history")


def compared_columns(table: Table) -> tuple[list[str], list[str]]:
    """Columns with the better answers, and with the worse ones; each holds something."""
    plain = {name: plain_name(name) for name in table.names}
    worse = [name for name in plain if WORSE.search(plain[name])]
    better = [name for name in plain if BETTER.search(plain[name]) and name not in worse]
    paired: dict[str, list[str]] = {}
    for name in plain:
        match = PAIRED.match(plain[name])
        if match and not worse:
            paired.setdefault(match[1], []).append(name)
    for first, *others in paired.values():
        if others:
            better, worse = [*better, first], [*worse, *others]
    return [n for n in better if _holds_answers(table, n)], [
        n for n in worse if _holds_answers(table, n)
    ]


def pair_columns(table: Table) -> dict[str, str]:
    """chosen, rejected and where the question stands, each with the file's own column.

    Empty where the names do not tell which of two answers is the better one. A question beside
    whole conversations, which hold it too, is left out.
    """
    better, worse = compared_columns(table)
    chosen = _named(better, BETTER, "chosen")
    rejected = _named(worse, WORSE, "rejected")
    if chosen is None or rejected is None:
        return {}
    names = {"chosen": chosen, "rejected": rejected}
    fields = _first_with(table, chosen)
    if fields is None or (isinstance(fields[chosen], list) and len(fields[chosen]) > 1):
        return names
    asked = _asked_in(fields)
    if asked is not None:
        names["prompt"] = asked
    extra = next((name for name in table.names if plain_name(name) == "input"), None)
    if asked is not None and plain_name(asked) == "instruction" and extra is not None:
        names["input"] = extra
    return names


def _asked_in(fields: dict[str, Any]) -> str | None:
    """The column with what is asked, of those that hold something in this record."""
    holding = {plain_name(name): name for name in fields if not is_empty(fields[name])}
    return next((holding[name] for name in ASKED if name in holding), None)


def verdict_column(table: Table, read: set[str], needs_a_no: bool = True) -> str | None:
    """The first column that says yes or no to each row's answer, with a no in some row.

    read: columns that hold the chat. needs_a_no: False where a person says what the rows are.
    """
    for name in table.names:
        if name in read or not VERDICTS.match(plain_name(name)):
            continue
        if table.rows_where(name, lambda value: verdict_of(value) is None):
            if table.rows_where(name, lambda value: isinstance(value, bool)):
                return name  # the rows that say neither are refused one by one
            continue  # a class or a mark, no yes or no
        if not needs_a_no or table.rows_where(name, lambda value: verdict_of(value) is False):
            return name
    return None


def verdict_of(value: Any) -> bool | None:
    """Whether an answer is said to be good: a flag, 1 and -1, or words such as yes and rejected."""
    is_sign = isinstance(value, int | float) and value == -1
    word = "-1" if is_sign else value.strip().lower() if isinstance(value, str) else None
    return True if word in _YES else False if word in _NO else flag_of(value)


def how_to_learn(table: Table) -> str:
    """The mapping of columns that learns the better answers of a comparison alone, in words."""
    return _how_to_learn(table, compared_columns(table)[0])


def _named(names: Sequence[str], pattern: re.Pattern[str], usual: str) -> str | None:
    """The one column of this meaning, or the one with the usual name; None where neither is."""
    found = [name for name in names if pattern.search(plain_name(name))]
    return usual if usual in found else found[0] if len(found) == 1 else None


def _first_with(table: Table, column: str) -> dict | None:
    return next(
        (
            record.value
            for record in table.records
            if isinstance(record.value, dict) and not is_empty(record.value.get(column))
        ),
        None,
    )


def find_comparison(table: Table) -> Finding | None:
    """What is to be said of rows with a chosen and a rejected answer; None without any."""
    better, worse = compared_columns(table)
    for name in table.names:
        if name in worse or not WORSE.search(plain_name(name)):
            continue
        rows = table.rows_where(name, lambda value: value is True)
        if rows:
            return Finding(
                said(
                    "column {name} says of {count_rows} that the answer is rejected.",
                    name=f"{name!r}",
                    count_rows=count_rows(rows),
                ),
                said("Remove these rows: supervised training learns every answer as a good one."),
            )
    is_open = any("chosen" in plain_name(name) for name in better) and len(table.names) > 1
    if not worse and not is_open:
        return None
    rows = table.rows_where((worse or better)[0], lambda value: True)
    return Finding(
        said(
            "this is preference data (columns {value}; {count_rows}): it compares answers, "
            "and supervised training would learn every answer as a good one.",
            value=", ".join([*better, *worse]),
            count_rows=count_rows(rows),
        ),
        said(
            "To learn from both answers, name their columns (dataset.columns with prompt, "
            "chosen and rejected) and choose the objective dpo. {how_to_learn}",
            how_to_learn=_how_to_learn(table, better),
        ),
    )


def find_verdicts(table: Table, read: set[str]) -> Iterator[Finding]:
    """What is to be said of columns that say yes or no to an answer, with a no in some row."""
    for name in table.names:
        if not VERDICTS.match(plain_name(name)) or name in read:
            continue
        if table.rows_where(name, lambda value: verdict_of(value) is None):
            continue  # a class or a mark, no yes or no
        against = table.rows_where(name, lambda value: verdict_of(value) is False)
        if against:
            yield Finding(
                said(
                    "column {name} is false in {count_rows}: answers labelled true or false "
                    "are preference data (KTO), and supervised training would learn the "
                    "false ones as good ones.",
                    name=f"{name!r}",
                    count_rows=count_rows(against),
                ),
                said(
                    "Read them in the format kto with the objective kto, or keep the rows "
                    "where {name} is true. If {name_2} means something else, name the "
                    "columns to read (dataset.columns) or remove it.",
                    name=name,
                    name_2=f"{name!r}",
                ),
            )


def score_warnings(table: Table, read: set[str]) -> Iterator[str]:
    """Warnings about columns that judge answers by a number, or by a no among other words."""
    for name in table.names:
        if name in read:
            continue
        if SCORES.search(plain_name(name)):
            rows = table.rows_where(
                name, lambda v: number_in(v) is not None and flag_of(v) is not True
            )
        elif VERDICTS.match(plain_name(name)):
            rows = table.rows_where(name, lambda value: verdict_of(value) is False)
        else:
            continue
        if rows:
            yield (
                said(
                    "Column {name} judges the answers and is not read: {count_rows}. Every "
                    "row is learned alike.",
                    name=f"{name!r}",
                    count_rows=count_rows(rows),
                )
            )


def plain_name(name: str) -> str:
    """A column's name in lower case with underscores: `Chosen response` is chosen_response."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _holds_answers(table: Table, name: str) -> bool:
    return bool(table.rows_where(name, lambda value: not is_number(value)))


def _how_to_learn(table: Table, better: Sequence[str]) -> str:
    """The mapping of columns that learns the better answers, for the remedy."""
    if not better:
        return said("To learn the other answers, name their columns (dataset.columns).")
    chosen = better[0]
    fields = _first_with(table, chosen)
    assert fields is not None, "a column of answers holds some"
    prompt = _asked_in(fields)
    turns = fields[chosen] if isinstance(fields[chosen], list) else []
    if len(turns) > 1 or (turns and prompt is None):
        mapping = f'"messages": "{chosen}"'
    elif prompt is not None:
        mapping = f'"prompt": "{prompt}", "answer": "{chosen}"'
    else:
        mapping = f'"text": "{chosen}"'
    return said(
        "To learn {chosen} alone, name the columns: dataset.columns {{{mapping}}}.",
        chosen=chosen,
        mapping=mapping,
    )
