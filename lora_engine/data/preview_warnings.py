"""What may be wrong with a dataset's rows, found by looking at them, and said in words.

Nothing here refuses a row: repeated rows or empty answers may be meant. Tokens cut off by the
length limit are `tokenization`'s to report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data.class_labels import FORMATS
from lora_engine.data.encoding import special_tokens_of
from lora_engine.data.objective_rows import LEARNED_BY
from lora_engine.data.rows import Dataset, Message, Row
from lora_engine.data.templates import ChatTemplate, Conversation, chat_template_of, render
from lora_engine.data.thoughts import MARKS, has_thoughts, mark_opened_by
from lora_engine.data.tokenization import list_rows
from lora_engine.data.twins import content_key
from lora_engine.language import tr

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# What stands in a text where other programs put a picture, a sound or a film.
_PICTURE = re.compile(
    r"<(image|img|video|audio)(_\d+)?>|<\|(image|video|audio)(_pad|_\d+)?\|>|<image_soft_token>|"
    r"\bdata:(image|video|audio)/[\w.+-]+;base64,"
)


@dataclass(frozen=True)
class RowProblems:
    """Numbers of rows: those that repeat an earlier one, those with an empty answer, those whose
    text holds a control token of the model, those whose rejected answer is empty, and those whose
    text stands for a picture, a sound or a film. writes_date: the template writes today's date.
    opened_mark: with what the template opens thoughts where it asks for an answer; empty where it
    does not. without_thoughts: the rows whose answers then have none."""

    duplicates: tuple[int, ...]
    empty_answers: tuple[int, ...]
    control_tokens: tuple[int, ...]
    writes_date: bool
    empty_rejected: tuple[int, ...] = ()
    pictures: tuple[int, ...] = ()
    opened_mark: str = ""
    without_thoughts: tuple[int, ...] = ()


def find_problems(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> RowProblems:
    """Look at every row, and at the template if the rows are chats."""
    is_chat = any(row.messages for row in rows)
    template = chat_template_of(tokenizer) if is_chat else None
    opened = _mark_opened_by(template) if template else ""
    return RowProblems(
        duplicates=tuple(_duplicates(rows)),
        empty_answers=tuple(row.number for row in rows if _has_empty_answer(row)),
        control_tokens=tuple(
            rows[place].number for place in rows_with_tokens(rows, special_tokens_of(tokenizer))
        ),
        writes_date=template is not None and "strftime_now" in template.source,
        empty_rejected=tuple(
            row.number for row in rows if row.rejected and not _says_something(row.rejected[-1])
        ),
        pictures=tuple(row.number for row in rows if any(map(_PICTURE.search, _texts_of(row)))),
        opened_mark=opened,
        without_thoughts=tuple(row.number for row in rows if opened and _lacks_thoughts(row)),
    )


def warnings_about(dataset: Dataset, measured_rows: int, found: RowProblems) -> tuple[str, ...]:
    """The problems in words, and how many rows were looked at where that is not all."""
    return tuple(_warnings(dataset, measured_rows, found))


def notes_about(dataset: Dataset) -> tuple[str, ...]:
    """What the rows are for, where that is no matter of course."""
    kinds = LEARNED_BY.get(dataset.format)
    return (
        (tr("Preference data: the objective {kinds} learns from it, not sft.", kinds=kinds),)
        if kinds
        else ()
    )


def _warnings(dataset: Dataset, measured_rows: int, found: RowProblems) -> Iterator[str]:
    task = next((task for task, format in FORMATS.items() if format == dataset.format), None)
    if task is not None:
        yield tr("Rows to classify: they train an encoder, with the task {task}.", task=task)
    if measured_rows < len(dataset.rows):
        yield tr(
            "Measured on the first {measured_rows} of {count} rows.",
            measured_rows=f"{measured_rows:,}",
            count=f"{len(dataset.rows):,}",
        )
    if found.duplicates:
        yield (
            tr(
                "The same as an earlier row: {list_rows}. The evaluation split keeps rows "
                "that are the same on one side.",
                list_rows=list_rows(found.duplicates),
            )
        )
    if found.empty_answers:
        empty = list_rows(found.empty_answers)
        yield tr("With an empty answer, which teaches to say nothing: {empty}.", empty=empty)
    if found.empty_rejected:
        empty = list_rows(found.empty_rejected)
        yield tr(
            "With an empty rejected answer, which compares with nothing: {empty}.", empty=empty
        )
    if found.pictures:
        yield tr(
            "With a mark such as <image> in the text, in whose place the model sees no picture, "
            "sound or video: {list_rows}.",
            list_rows=list_rows(found.pictures),
        )
    if found.control_tokens:
        yield (
            tr(
                "With the model's control tokens in the text, which the model takes for "
                "structure: {list_rows}.",
                list_rows=list_rows(found.control_tokens),
            )
        )
    if found.without_thoughts:
        yield (
            tr(
                "The chat template opens thoughts with {mark} when it asks for an answer, and rows "
                "have none: {list_rows}. They teach an answer that nobody will ask for that way. "
                "Give the rows thoughts, or choose another template.",
                mark=found.opened_mark,
                list_rows=list_rows(found.without_thoughts),
            )
        )
    if found.writes_date:
        yield (
            tr(
                "The model's chat template writes today's date into the rows: the same run "
                "on another day sees other tokens."
            )
        )


def _duplicates(rows: Sequence[Row]) -> Iterator[int]:
    seen = set()
    for row in rows:
        content = content_key(row)
        if content in seen:
            yield row.number
        seen.add(content)


def _mark_opened_by(template: ChatTemplate) -> str:
    """What opens thoughts at the end of the template's prompt; empty where nothing does."""
    if not any(opening in template.source for opening, _ in MARKS):
        return ""
    question = Conversation(1, (Message("user", "?"),), add_generation_prompt=True, may_fail=True)
    return mark_opened_by(render(template, [question])[0])


def _lacks_thoughts(row: Row) -> bool:
    """Whether an answer of the row is learned and none of those that are has thoughts."""
    learned = [turn for turn in row.messages if turn.role == "assistant" and turn.is_learned]
    return bool(learned) and not any(has_thoughts(turn) for turn in learned)


def _has_empty_answer(row: Row) -> bool:
    return any(
        turn.role == "assistant" and turn.is_learned and not _says_something(turn)
        for turn in row.messages
    )


def _says_something(turn: Message) -> bool:
    return bool(turn.content.strip() or turn.reasoning or turn.tool_calls)


def _texts_of(row: Row) -> list[str]:
    return [row.text or "", *(message.content for message in row.messages)]


def rows_with_tokens(rows: Sequence[Row], tokens: Sequence[str]) -> Iterator[int]:
    """Places of the rows whose own text holds one of the tokens."""
    pattern = re.compile("|".join(re.escape(token) for token in tokens if token) or "(?!)")
    for place, row in enumerate(rows):
        if any(map(pattern.search, _texts_of(row))):
            yield place
