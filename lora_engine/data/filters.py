"""Leaving rows out: by length, by a regular expression, and those that are there already.

The filters of a dataset see all its sets, one after another, so that a row that stands in two of
them stays in the first. A regular expression may run for ever on an unlucky text: each row has a
limit of time, and all rows together have one. This module knows nothing of files and tokens.
"""

from __future__ import annotations

import hashlib
import time
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lora_engine.data.picked import Picked
from lora_engine.data.rows import Row, RowsRemoved, row_content
from lora_engine.errors import EngineError
from lora_engine.language import tr

if TYPE_CHECKING:
    import numpy as np

    from lora_engine.spec import FiltersSpec

ROW_S = 1.0  # for one pattern on one row
ALL_ROWS_S = 20.0  # for all patterns on all rows, and so much more for each row:
EACH_ROW_S = 0.001
DIGEST_BYTES = 16
Test = tuple[str, str, Callable[[Row], bool]]


class RowFilters:
    """The filters of one dataset. `of(rows, source)` is called once for each of its sets."""

    def __init__(self, spec: FiltersSpec) -> None:
        self.document = spec.model_dump(exclude_defaults=True)
        self._tests = _tests(spec)
        self._drops_duplicates = spec.drop_duplicates
        self._seen: np.ndarray | None = None

    def of(self, rows: Sequence[Row], source: str) -> tuple[Sequence[Row], tuple[RowsRemoved, ...]]:
        """The rows that stay, and how many each filter left out.

        Raises EngineError where no row stays, or a pattern takes too long.
        """
        if not self.document:
            return rows, ()
        import numpy as np

        places, digests = array("q"), bytearray()
        removed = dict.fromkeys((name for name, _, _ in self._tests), 0)
        clock = _Clock(source, len(rows))
        for place, row in enumerate(rows):
            failed = next((n for n, _, test in self._tests if not clock.timed(n, test, row)), None)
            if failed is not None:
                removed[failed] += 1
                continue
            places.append(place)
            if self._drops_duplicates:
                digests += hashlib.blake2b(row_content(row), digest_size=DIGEST_BYTES).digest()
        found = [RowsRemoved(name, what, removed[name]) for name, what, _ in self._tests]
        kept = np.array(places, np.int64)
        if self._drops_duplicates:
            kept = kept[self._first_of_each(digests)]
            duplicates = len(places) - len(kept)
            found.append(
                RowsRemoved("drop_duplicates", tr("the same as an earlier one"), duplicates)
            )
        if not len(kept):
            raise EngineError(
                tr(
                    "The filters leave none of the {count} rows of {source}: {listed}.",
                    count=f"{len(rows):,}",
                    source=source,
                    listed=listed(found),
                ),
                tr("Loosen dataset.filters."),
            )
        return Picked(rows, kept), tuple(found)

    def _first_of_each(self, digests: bytearray) -> np.ndarray:
        """Which of these rows repeat none before them, in this set or an earlier one."""
        import numpy as np

        # equal bytes of one length are equal texts, so numpy's padding does no harm
        keys = np.frombuffer(bytes(digests), f"S{DIGEST_BYTES}")
        is_first = np.zeros(len(keys), bool)
        is_first[np.unique(keys, return_index=True)[1]] = True
        if self._seen is not None:
            is_first &= ~np.isin(keys, self._seen)
        new = keys[is_first]
        self._seen = new if self._seen is None else np.concatenate([self._seen, new])
        return is_first


def listed(removed: Sequence[RowsRemoved]) -> str:
    """`3 with fewer than 20 characters, 0 the same as an earlier one`."""
    return ", ".join(tr("{count} {what}", count=f"{one.rows:,}", what=one.what) for one in removed)


def summed(removed: Sequence[Sequence[RowsRemoved]]) -> tuple[RowsRemoved, ...]:
    """What the filters left out of several sets, each with the same filters."""
    return tuple(
        RowsRemoved(one.filter, one.what, sum(part.rows for part in column))
        for column in zip(*removed, strict=True)
        for one in column[:1]
    )


def searched_text(row: Row) -> str:
    """What a pattern is searched in: all texts of a row, one a line."""
    said = (*row.messages, *row.rejected)
    turns = [text for turn in said for text in (turn.reasoning, turn.content) if text]
    return "\n".join([*([row.text] if row.text else []), *row.words, *turns])


class _Clock:
    """The time that patterns have left. Raises EngineError where it is up."""

    def __init__(self, source: str, rows: int) -> None:
        self._source = source
        self._left = ALL_ROWS_S + EACH_ROW_S * rows

    def timed(self, name: str, passes: Callable[[Row], bool], row: Row) -> bool:
        started = time.perf_counter()
        try:
            found = passes(row)
        except TimeoutError:
            raise self._too_slow(
                name,
                tr(
                    "row {number} takes longer than {row_s} s",
                    number=row.number,
                    row_s=f"{ROW_S:g}",
                ),
            ) from None
        self._left -= time.perf_counter() - started
        if self._left < 0:
            raise self._too_slow(
                name, tr("the time for all rows was over at row {number}", number=row.number)
            )
        return found

    def _too_slow(self, name: str, what: str) -> EngineError:
        return EngineError(
            tr(
                "{source}: the pattern of dataset.filters.{name} is too slow: {what}.",
                source=self._source,
                name=name,
                what=what,
            ),
            tr("Write it without a repetition inside another, as in (a+)+."),
        )


def _tests(spec: FiltersSpec) -> list[Test]:
    """Field, the rows that it leaves out in words, and what a row that stays passes."""
    tests: list[Test] = []
    fewest, most = spec.min_characters, spec.max_characters
    if fewest is not None:
        tests.append(
            (
                "min_characters",
                tr("with fewer than {fewest} characters", fewest=f"{fewest:,}"),
                lambda row: row.characters >= fewest,
            )
        )
    if most is not None:
        tests.append(
            (
                "max_characters",
                tr("with more than {most} characters", most=f"{most:,}"),
                lambda row: row.characters <= most,
            )
        )
    if spec.keep_matching is not None:
        search = _search(spec.keep_matching)
        tests.append(("keep_matching", tr("that do not match"), search))
    if spec.drop_matching is not None:
        found = _search(spec.drop_matching)
        tests.append(("drop_matching", tr("that match"), lambda row: not found(row)))
    return tests


def _search(pattern: str) -> Callable[[Row], bool]:
    import regex  # as `re`, with a limit of time

    compiled = regex.compile(pattern)
    return lambda row: compiled.search(searched_text(row), timeout=ROW_S) is not None
