"""From rows to sequences for the model: ids and labels, cut to length, with a report.

A chat row keeps its beginning and is left out where no supervised token is left; a plain text is
cut into pieces instead. This module knows nothing of files, templates or characters.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data.bundled_templates import DEFAULT_TEMPLATE_NAME, NO_TEMPLATE_NAME
from lora_engine.data.encoding import EncodedRow, encode
from lora_engine.data.left_out import LeftOut
from lora_engine.data.picked import Keep
from lora_engine.data.rows import Row
from lora_engine.data.said import Said, said, said_count
from lora_engine.data.templates import chat_template_of
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
# By whether a template writes the rows, and whether what it leaves out would be learned.
_LEFT_OUT = {
    (True, True): translatable(
        "The chat template leaves out {what}, so it is not learned: {rows}."
    ),
    (True, False): translatable(
        "The chat template leaves out {what}, so it is not seen by the model: {rows}."
    ),
    (False, True): translatable(
        "Text without a chat template leaves out {what}, so it is not learned: {rows}."
    ),
    (False, False): translatable(
        "Text without a chat template leaves out {what}, so it is not seen by the model: {rows}."
    ),
}


@dataclass(frozen=True)
class TokenizedRow:
    """One sequence for the model: `labels` are `input_ids` where supervised, -100 elsewhere.

    A plain text longer than the limit makes several of these with one `number`.
    """

    number: int
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    truncated: bool


@dataclass(frozen=True)
class Tokenization:
    """What `tokenize` made, and what happened to the rows on the way.

    template: the chat template's name, empty for plain text and for rows written without one.
    without_answer: numbers of rows that have no assistant turn, or none that is to be learned.
    lost_answer: numbers of rows whose whole answer lies behind the limit. cut: numbers of rows that
    lose a part. Rows of the first two are left out.
    """

    rows: Sequence[TokenizedRow]
    template: str
    without_answer: tuple[int, ...]
    lost_answer: tuple[int, ...]
    cut: tuple[int, ...]
    warnings: tuple[str, ...]


def tokenize_rows(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[TokenizedRow]:
    """Sequences of at most `max_length` tokens, in the order of the rows.

    The beginning of a chat row is kept; a row with no supervised token left is left out. A plain
    text is cut into pieces of nearly equal length instead, and loses nothing.
    Raises EngineError where a template fails on a row, and where no row has a supervised token.
    """
    return list(tokenize(rows, tokenizer, max_length).rows)


def tokenize(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    keep: Keep[TokenizedRow] = tuple,
) -> Tokenization:
    """As `tokenize_rows`, with the report of what was cut and left out, also in words.

    keep: holds the sequences, which it is given one by one; in memory where nothing is said.
    """
    return tokenization_of(encode(rows, tokenizer), tokenizer, max_length, keep)


def tokenization_of(
    encoded: Iterable[EncodedRow],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    keep: Keep[TokenizedRow] = tuple,
) -> Tokenization:
    """`tokenize` for rows as `encode` makes them. Raises as it does."""
    report = _Report(max_length)

    def pieces() -> Iterator[TokenizedRow]:
        for row in encoded:
            made = [piece for piece in _cut(row, max_length) if set(piece.labels) - {IGNORED}]
            report.add(row, made)
            yield from made
        report.refuse_nothing_learned()

    kept = keep(pieces())
    name = chat_template_of(tokenizer).name if report.is_chat else ""
    template = "" if name == NO_TEMPLATE_NAME else name
    return Tokenization(
        rows=kept,
        template=template,
        without_answer=tuple(sorted([*report.without_answer, *report.unlearned])),
        lost_answer=tuple(report.lost_answer),
        cut=tuple(report.cut),
        warnings=(
            *_template_warnings(template, report.all_end, tokenizer),
            *_end_warnings(report.ends_last),
            *_left_out_warnings(report.left_out, template),
            *_meeting_warnings(report.meets_inside),
            *_loss_warnings(report.count, max_length, report.lost_answer, report.cut),
            *_answer_warnings(report.without_answer, report.unlearned),
        ),
    )


class _Report:
    """What happens to the rows, gathered row by row: 8 bytes for each row that is named."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.count, self.pieces, self.is_chat, self.all_end = 0, 0, False, True
        self.without_answer, self.unlearned = array("q"), array("q")
        self.lost_answer, self.cut, self.meets_inside = array("q"), array("q"), array("q")
        self.ends_last = array("q")
        self.left_out: dict[str, tuple[LeftOut, array[int]]] = {}

    def add(self, row: EncodedRow, made: Sequence[TokenizedRow]) -> None:
        self.count += 1
        self.pieces += len(made)
        self.is_chat = self.is_chat or not row.is_plain_text
        self.all_end = self.all_end and row.ends_with_token
        for lost in row.left_out:
            _, numbers = self.left_out.setdefault(lost.part, (lost, array("q")))
            if numbers[-1:] != array("q", [row.number]):
                numbers.append(row.number)
        if row.ends_with_token and not row.ends_each:
            self.ends_last.append(row.number)
        if row.meets_inside:
            self.meets_inside.append(row.number)
        if not any(row.supervised):
            (self.without_answer if not row.has_answer else self.unlearned).append(row.number)
        elif not made:
            self.lost_answer.append(row.number)
        elif made[0].truncated:
            self.cut.append(row.number)

    def refuse_nothing_learned(self) -> None:
        """Raises EngineError where there were rows and none of them has a token to learn."""
        if not self.count or self.pieces:
            return
        raise EngineError(
            tr(
                "None of the {count} rows has a token to learn: {without} have no assistant turn, "
                "{unlearned} none that is to be learned (weight 0), {lost} lose their whole answer "
                "to truncation at {max_length} tokens."
                if self.unlearned
                else "None of the {count} rows has a token to learn: {without} have no assistant "
                "turn, {lost} lose their whole answer to truncation at {max_length} tokens.",
                count=f"{self.count:,}",
                without=f"{len(self.without_answer):,}",
                unlearned=f"{len(self.unlearned):,}",
                lost=f"{len(self.lost_answer):,}",
                max_length=f"{self.max_length:,}",
            ),
            tr("Give rows with answers, or raise the longest row (max_length)."),
        )


def _cut(row: EncodedRow, max_length: int) -> list[TokenizedRow]:
    length = len(row.input_ids)
    if not row.is_plain_text:
        ids = row.input_ids[:max_length]
        labels = tuple(
            token if flag else IGNORED for token, flag in zip(ids, row.supervised, strict=False)
        )
        return [TokenizedRow(row.number, ids, labels, length > max_length)]
    count = -(-length // max_length)
    borders = [length * piece // count for piece in range(count + 1)]
    return [
        TokenizedRow(
            number=row.number,
            input_ids=row.input_ids[start:end],
            labels=(IGNORED, *row.input_ids[start + 1 : end]),
            truncated=False,
        )
        for start, end in zip(borders, borders[1:], strict=False)
    ]


def list_rows(numbers: Sequence[int], shown: int = 5) -> Said:
    """The number of rows and the first ones, for warnings: `7 rows (1, 4, 9, 12, 13, ...)`."""
    listed = ", ".join(str(number) for number in numbers[:shown])
    more = ", ..." if len(numbers) > shown else ""
    return said_count("{count} row ({listed})", "{count} rows ({listed})", len(numbers),
                      listed=listed + more)  # fmt: skip


def _template_warnings(
    template: str, all_end: bool, tokenizer: PreTrainedTokenizerBase
) -> Iterator[str]:
    end_token = tokenizer.eos_token
    if template == DEFAULT_TEMPLATE_NAME and not tokenizer.chat_template:
        yield said(
            "The base model has no chat template; {default_template_name} is used.",
            default_template_name=DEFAULT_TEMPLATE_NAME,
        )
    if not all_end:
        yield (
            said(
                "The chat template ends answers with no special token; {end_token} is added "
                "after the last one.",
                end_token=end_token,
            )
            if end_token
            else said(
                "The chat template ends answers with no special token and the tokenizer has "
                "no end token: the model does not learn where to stop."
            )
        )


def _end_warnings(ends_last: Sequence[int]) -> Iterator[str]:
    if ends_last:
        yield said(
            "The chat template ends only the last answer of a conversation with a special token; "
            "earlier answers do not teach where to stop: {list_rows}. Learn the last answers "
            "alone (dataset.turns), or choose another template.",
            list_rows=list_rows(ends_last),
        )


def _meeting_warnings(meets_inside: Sequence[int]) -> Iterator[str]:
    if meets_inside:
        yield (
            said(
                "Prompt and answer meet inside one token, which the prompt alone does not "
                "have: {list_rows}. End the prompts or begin the answers with a line break.",
                list_rows=list_rows(meets_inside),
            )
        )


def _left_out_warnings(
    left_out: dict[str, tuple[LeftOut, array[int]]], template: str
) -> Iterator[str]:
    for part, (first, numbers) in left_out.items():
        what = part
        if first.beginning:
            what = said("{part} ({beginning})", part=part, beginning=repr(first.beginning))
        yield said(_LEFT_OUT[bool(template), first.is_learned], what=what, rows=list_rows(numbers))


def _loss_warnings(
    count: int,
    max_length: int,
    lost_answer: Sequence[int],
    cut: Sequence[int],
) -> Iterator[str]:
    shortened = len(lost_answer) + len(cut)
    if shortened:
        yield (
            said(
                "{percent} of rows lose a part to truncation at {max_length} tokens "
                "({shortened} of {count}).",
                percent=_percent(shortened, count),
                max_length=f"{max_length:,}",
                shortened=f"{shortened:,}",
                count=f"{count:,}",
            )
        )
    if lost_answer:
        yield (
            said(
                "{percent} of rows lose their whole answer to truncation at {max_length} "
                "tokens and are left out: {list_rows}.",
                percent=_percent(len(lost_answer), count),
                max_length=f"{max_length:,}",
                list_rows=list_rows(lost_answer),
            )
        )


def _answer_warnings(without_answer: Sequence[int], unlearned: Sequence[int]) -> Iterator[str]:
    if without_answer:
        yield said(
            "Left out, because no turn is the assistant's: {list_rows}.",
            list_rows=list_rows(without_answer),
        )
    if unlearned:
        yield (
            said(
                "Left out, because the row says that none of its answers is to be learned "
                "(weight 0, train false): {list_rows}.",
                list_rows=list_rows(unlearned),
            )
        )


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole
    return f"{share:.{1 if share < 10 else 0}f} %"
