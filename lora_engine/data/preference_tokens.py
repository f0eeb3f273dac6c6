"""Preference rows as tokens: each answer after its question, with the loss on the answer alone.

Both answers of a pair are tokenized as chats are, by the same template and mask, each cut to the
longest row at its end. A pair is left out where either answer loses all its tokens. Knows nothing
of objectives, but that some learn from single answers that are said to be good or bad.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, overload

from lora_engine.data.picked import Picked
from lora_engine.data.preference_rows import rejected_side
from lora_engine.data.row_store import row_numbers
from lora_engine.data.rows import Row
from lora_engine.data.token_store import learned_of, lengths_of, numbers_of
from lora_engine.data.tokenization import Tokenization, TokenizedRow, list_rows
from lora_engine.language import tr
from lora_engine.spec import ObjectiveSpec

if TYPE_CHECKING:
    import numpy as np

Tokenize = Callable[[Sequence[Row]], Tokenization]


@dataclass(frozen=True)
class PairRow(TokenizedRow):
    """The question with the chosen answer, and with the rejected one.

    reference: Σ ln p of the chosen and of the rejected answer under the reference (nats); empty
    where no objective needs it.
    """

    rejected: TokenizedRow
    reference: tuple[float, ...] = ()


@dataclass(frozen=True)
class JudgedRow(TokenizedRow):
    """A question with an answer that is good or bad.

    reference: Σ ln p under the reference of this answer, and of the one that is put in its place
    to estimate the KL (nats).
    """

    is_desirable: bool
    reference: tuple[float, ...] = ()


class PairRows(Sequence[PairRow]):
    """Pairs of rows of equal place; made as they are asked for."""

    def __init__(self, chosen: Sequence[TokenizedRow], rejected: Sequence[TokenizedRow]) -> None:
        self._chosen, self._rejected = chosen, rejected

    def __len__(self) -> int:
        return len(self._chosen)

    def __iter__(self) -> Iterator[PairRow]:
        return map(_pair, self._chosen, self._rejected)

    @overload
    def __getitem__(self, index: int) -> PairRow: ...
    @overload
    def __getitem__(self, index: slice) -> PairRows: ...
    def __getitem__(self, index: int | slice) -> PairRow | PairRows:
        if isinstance(index, slice):
            return PairRows(self._chosen[index], self._rejected[index])
        return _pair(self._chosen[index], self._rejected[index])

    def apart(self) -> JudgedRows:
        """Each pair as a good answer and a bad one, one after the other."""
        import numpy as np

        count = len(self)
        both = _Ends(self._chosen, self._rejected)
        turns = np.stack([np.arange(count), np.arange(count) + count], 1).ravel()
        return JudgedRows(Picked(both, turns), turns < count)


class _Ends(Sequence[TokenizedRow]):
    """Two sequences, one behind the other."""

    def __init__(self, first: Sequence[TokenizedRow], second: Sequence[TokenizedRow]) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    @overload
    def __getitem__(self, index: int) -> TokenizedRow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TokenizedRow]: ...
    def __getitem__(self, index: int | slice) -> TokenizedRow | Sequence[TokenizedRow]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        beyond = place - len(self._first)
        return self._first[place] if beyond < 0 else self._second[beyond]


class JudgedRows(Sequence[JudgedRow]):
    """Rows with what is said of their answers; made as they are asked for."""

    def __init__(self, rows: Sequence[TokenizedRow], are_good: np.ndarray) -> None:
        self._rows, self._are_good = rows, are_good

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[JudgedRow]:
        return map(_judged, self._rows, self._are_good.tolist())

    @overload
    def __getitem__(self, index: int) -> JudgedRow: ...
    @overload
    def __getitem__(self, index: slice) -> JudgedRows: ...
    def __getitem__(self, index: int | slice) -> JudgedRow | JudgedRows:
        if isinstance(index, slice):
            return JudgedRows(self._rows[index], self._are_good[index])
        return _judged(self._rows[index], bool(self._are_good[index]))


def tokenize_for(objective: ObjectiveSpec, rows: Sequence[Row], tokenize: Tokenize) -> Tokenization:
    """The rows as the objective learns from them: pairs, judged answers, or as they are."""
    if objective.compares_answers:
        return tokenize_pairs(rows, tokenize)
    return tokenize_judged(rows, tokenize) if objective.kind == "kto" else tokenize(rows)


def tokenize_pairs(rows: Sequence[Row], tokenize: Tokenize) -> Tokenization:
    """The rows of the format preference as `PairRow`s, in their order, with one report.

    tokenize: `tokenization.tokenize`, or a cache in front of it; raises as it does.
    """
    return join_sides(tokenize(rows), tokenize(RejectedSides(rows)))


def join_sides(chosen: Tokenization, rejected: Tokenization) -> Tokenization:
    """The two tokenizations of the same rows as pairs, with one report of both.

    A rejected side's own warnings say whose they are.
    """
    pairs = _pairs_in_common(chosen.rows, rejected.rows)
    of_rejected = [line for line in rejected.warnings if line not in chosen.warnings]
    warnings = [
        *chosen.warnings,
        *(tr("Rejected answers: {line}", line=line) for line in of_rejected),
    ]
    equal = [pair.number for pair in pairs if pair.input_ids == pair.rejected.input_ids]
    if equal:
        warnings.append(
            tr(
                "The chosen answer is the rejected one, which teaches nothing: {list_rows}.",
                list_rows=list_rows(equal),
            )
        )
    return Tokenization(
        rows=pairs,
        template=chosen.template,
        without_answer=_united(chosen.without_answer, rejected.without_answer),
        lost_answer=_united(chosen.lost_answer, rejected.lost_answer),
        cut=_united(chosen.cut, rejected.cut),
        warnings=tuple(warnings),
    )


def tokenize_judged(rows: Sequence[Row], tokenize: Tokenize) -> Tokenization:
    """Rows of the format kto as `JudgedRow`s; those of a pair as a good and a bad answer each.

    Raises as `tokenize` does.
    """
    if rows and rows[0].rejected:
        pairs = tokenize_pairs(rows, tokenize)
        assert isinstance(pairs.rows, PairRows)
        return replace(pairs, rows=pairs.rows.apart())
    made = tokenize(rows)
    return replace(made, rows=JudgedRows(made.rows, _verdicts(rows, made.rows)))


def answers_of(row: TokenizedRow) -> tuple[TokenizedRow, ...]:
    """The sequences that a row gives the model: one, or two for a pair."""
    return (row, row.rejected) if isinstance(row, PairRow) else (row,)


def tokens_of(row: TokenizedRow, added: int = 0) -> int:
    """The tokens that a row gives the model; added: virtual ones before each of its sequences."""
    return sum(len(answer.input_ids) + added for answer in answers_of(row))


def lengths_given(rows: Sequence[TokenizedRow], added: int = 0) -> np.ndarray:
    """`tokens_of` each row; the rows of one objective are all pairs, or none is."""
    import numpy as np

    if rows and isinstance(rows[0], PairRow):
        return np.fromiter((tokens_of(row, added) for row in rows), np.int64, len(rows))
    return lengths_of(rows) + added


def learned_tokens(rows: Sequence[TokenizedRow]) -> int:
    """Supervised tokens of all rows."""
    if rows and isinstance(rows[0], PairRow):
        return int(learned_of([answer for row in rows for answer in answers_of(row)]).sum())
    return int(learned_of(rows).sum())


def _pair(chosen: TokenizedRow, rejected: TokenizedRow) -> PairRow:
    truncated = chosen.truncated or rejected.truncated
    return PairRow(chosen.number, chosen.input_ids, chosen.labels, truncated, rejected)


def _judged(row: TokenizedRow, is_desirable: bool) -> JudgedRow:
    return JudgedRow(row.number, row.input_ids, row.labels, row.truncated, is_desirable)


class RejectedSides(Sequence[Row]):
    """The rows with their rejected answers in place of the chosen ones."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return map(rejected_side, self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> RejectedSides: ...
    def __getitem__(self, index: int | slice) -> Row | RejectedSides:
        if isinstance(index, slice):
            return RejectedSides(self._rows[index])
        return rejected_side(self._rows[index])


def _pairs_in_common(chosen: Sequence[TokenizedRow], rejected: Sequence[TokenizedRow]) -> PairRows:
    """The rows of which both answers are left, in the order of their numbers."""
    import numpy as np

    numbers = numbers_of(chosen), numbers_of(rejected)
    _, first, second = np.intersect1d(*numbers, assume_unique=True, return_indices=True)
    return PairRows(Picked(chosen, first), Picked(rejected, second))


def _verdicts(rows: Sequence[Row], made: Sequence[TokenizedRow]) -> np.ndarray:
    """What the rows say of their answers, for each of the sequences made of them."""
    import numpy as np

    numbers = row_numbers(rows)
    order = np.argsort(numbers, kind="stable")
    said = np.fromiter((bool(row.is_desirable) for row in rows), np.bool_, len(rows))
    return said[order[np.searchsorted(numbers, numbers_of(made), sorter=order)]]


def _united(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted({*first, *second}))
