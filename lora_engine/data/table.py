"""The columns of a file's records: their names, and the rows where one holds something.

Knows nothing of what a column means.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lora_engine.data.field_values import is_empty
from lora_engine.data.record_files import FileRecords
from lora_engine.data.records import Record
from lora_engine.data.said import Said, said_count


@dataclass(frozen=True)
class Finding:
    """Something that rows say and that supervised training here does not honour."""

    problem: str
    remedy: str


class Table:
    """Records seen by column. A record that is no object has no columns."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every column of any record, in order of appearance."""
        if isinstance(self.records, FileRecords):
            return self.records.names
        found: dict[str, None] = {}
        for record in self.records:
            if isinstance(record.value, dict):
                found.update(dict.fromkeys(record.value))
        return tuple(name for name in found if isinstance(name, str))

    def rows_where(self, column: str, is_so: Callable[[Any], bool]) -> Sequence[int]:
        """Numbers of the rows whose column holds something of which `is_so` is true."""
        return self.rows_where_each({column: is_so})[column]

    def rows_where_each(
        self, tests: Mapping[str, Callable[[Any], bool]]
    ) -> dict[str, Sequence[int]]:
        """`rows_where` of several columns, each with its test, in one pass over the records."""
        found = {column: array("q") for column in tests}
        for record in self.records if tests else ():
            if not isinstance(record.value, dict):
                continue
            for column, is_so in tests.items():
                value = record.value.get(column)
                if not is_empty(value) and is_so(value):
                    found[column].append(record.number)
        return {**found}


def is_number(value: Any) -> bool:
    """Whether it is a number or a truth value."""
    return isinstance(value, bool | int | float)


def number_in(value: Any) -> float | None:
    """The number that a value is or, as in CSV, says; None for anything else."""
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return float(value.strip().lower() == "true")
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None


def count_rows(numbers: Sequence[int], shown: int = 5) -> Said:
    """The number of rows and the first ones: `7 rows (1, 4, 9, 12, 13, ...)`."""
    listed = ", ".join(str(number) for number in numbers[:shown])
    more = ", ..." if len(numbers) > shown else ""
    return said_count("{count} row ({listed})", "{count} rows ({listed})", len(numbers),
                      listed=listed + more)  # fmt: skip
