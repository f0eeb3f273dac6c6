"""Which characters of a rendered conversation the loss is on: the learned turns of the assistant.

Templates rarely mark the answers, so they are found from renderings:

1. `turn_layout` renders the same roles once with a marker in place of every text, and up to each
   answer with the generation prompt.
2. `turn_regions` finds in the real rendering where each turn's text stands.
3. An answer starts where the real text and the generation prompt part: what the model is given is
   not learned, what the template writes beyond it (a space, a thought) is.
4. It ends with the special token that ends the turn, so the model learns to stop. Neither the line
   break behind it nor the header of a next turn is learned.

A template that ends an answer with no special token gets the tokenizer's end token after the
last answer. This module knows nothing of tokens but the names of the special ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from lora_engine.data.answer_span import Ends, answer_end, answer_start
from lora_engine.data.left_out import (
    LeftOut,
    called_name,
    is_shortened,
    left_out_of,
    parsed,
)
from lora_engine.data.rows import Message, Row
from lora_engine.data.templates import ChatTemplate, Conversation, render
from lora_engine.data.thoughts import start_of_answer
from lora_engine.data.turn_layout import (
    ANSWER,
    END_QUESTIONS,
    USER,
    Layout,
    Shape,
    layout_of,
    layout_questions,
    specials_pattern,
    turn_end,
)
from lora_engine.data.turn_regions import (
    Region,
    follow,
    region_questions,
    regions_from,
)
from lora_engine.errors import EngineError
from lora_engine.language import tr


@dataclass(frozen=True)
class SupervisedText:
    """A row as the model sees it: its text, and the spans [start, end) the loss is on.

    ends_with_token: a special token of the template's ends the last answer. ends_each: also each
    learned one that a question follows. left_out: what the template does not write of the row.
    """

    number: int
    text: str
    spans: tuple[tuple[int, int], ...]
    ends_with_token: bool
    ends_each: bool = True
    left_out: tuple[LeftOut, ...] = ()


@dataclass
class _Rendered:
    """A row on its way: what is rendered of it, and where its turns stand."""

    row: Row
    messages: tuple[Message, ...]
    text: str = ""
    regions: list[Region] | None = field(default=None)

    @property
    def shape(self) -> Shape:
        return Shape(tuple(message.role for message in self.messages), self.row.tools)


def supervised_texts(
    template: ChatTemplate, rows: Sequence[Row], special_tokens: Sequence[str], end_token: str
) -> list[SupervisedText]:
    """Each row rendered, with the spans of its answers; no spans where a row has no answer.

    Turns after a row's last answer are left out: nothing supervised can depend on them.
    end_token: appended where the template ends answers with no special token; may be empty.
    Raises EngineError naming the row where the template fails on it.
    """
    by_row = [_Rendered(row, up_to_last_answer(row.messages)) for row in rows]
    asked = [one for one in by_row if one.messages]
    specials = specials_pattern(special_tokens)
    layouts, ends = _render_all(template, asked, specials, end_token)
    for one in asked:
        one.regions = follow(one.text, one.messages, layouts[one.shape])
    _find_the_rest(template, [one for one in asked if one.regions is None], specials)
    return [
        _supervised(one, ends) if one.messages else SupervisedText(one.row.number, "", (), True)
        for one in by_row
    ]


def up_to_last_answer(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The turns up to the last one that is learned; none where no turn is."""
    learned = [index for index, message in enumerate(messages) if is_learned(message)]
    return messages[: learned[-1] + 1] if learned else ()


def is_learned(message: Message) -> bool:
    """Whether the loss is on this turn."""
    return message.role == ANSWER and message.is_learned


def _render_all(
    template: ChatTemplate,
    asked: Sequence[_Rendered],
    specials: re.Pattern[str],
    eos: str,
) -> tuple[dict[Shape, Layout], Ends]:
    """The rows' texts, the layout of every shape among them, and how turns end; in one go."""
    whole = [Conversation(one.row.number, one.messages, tools=one.row.tools) for one in asked]
    rows_with = {one.shape: one.row.number for one in reversed(asked)}
    questions = {shape: layout_questions(shape, row) for shape, row in rows_with.items()}
    wanted = dict.fromkeys(question for some in questions.values() for question in some)
    texts = render(template, [*whole, *wanted, *(END_QUESTIONS if whole else ())])
    for one, text in zip(asked, texts, strict=False):
        one.text = text
    answers = dict(zip(wanted, texts[len(whole) :], strict=False))
    layouts = {
        shape: layout_of(shape, [answers[question] for question in some])
        for shape, some in questions.items()
    }
    bos = template.variables.get("bos_token", "")
    endings = texts[-len(END_QUESTIONS) :] if whole else [""] * len(END_QUESTIONS)
    return layouts, Ends(turn_end(endings, specials, eos, bos), specials, eos)


def _find_the_rest(
    template: ChatTemplate, asked: Sequence[_Rendered], specials: re.Pattern[str]
) -> None:
    """The regions of rows that the template does not lay out as others of their shape."""
    questions = [region_questions(one.messages, one.row.number, one.row.tools) for one in asked]
    answers = iter(render(template, [question for some in questions for question in some]))
    for one, some in zip(asked, questions, strict=True):
        found = regions_from(one.text, one.messages, [next(answers) for _ in some], specials)
        one.regions = sorted(found.values(), key=lambda region: (region.start, region.end))
        _check_regions(one, found)


def _check_regions(one: _Rendered, found: dict[int, Region]) -> None:
    """Raises EngineError where a turn's text cannot be told from the rest of the row."""
    for before, after in zip(one.regions or (), (one.regions or ())[1:], strict=False):
        if before.end > after.start and ANSWER in (
            one.messages[before.index].role,
            one.messages[after.index].role,
        ):
            raise _cannot_follow(one, after.index)
    for index, message in enumerate(one.messages):
        region = found.get(index)
        written = one.text[region.start : region.end] if region else ""
        rewritten = any(left_out_of(message, written)) and not is_shortened(
            message.content, written
        )
        if message.role != ANSWER and rewritten:
            raise _cannot_follow(one, index)


def _supervised(one: _Rendered, ends: Ends) -> SupervisedText:
    spans, complete, ends_each, text = [], True, True, one.text
    regions = one.regions or []
    for position, region in enumerate(regions):
        message = one.messages[region.index]
        if not is_learned(message):
            continue
        is_last = region.index == len(one.messages) - 1
        limit = len(text) if is_last else _start_of_next(regions, position, region.limit)
        start = answer_start(text, region, ends.specials)
        end, complete = answer_end(text, region, limit, is_last, ends)
        ends_each = ends_each and (complete or not _is_before_question(one, region.index))
        if not message.is_reasoning_learned:
            start = start_of_answer(text, start, end, message)
        spans.append((start, end))
    if spans and not complete:
        text = text[: spans[-1][1]] + ends.eos
        spans[-1] = (spans[-1][0], len(text))
    left_out = tuple(_left_out(one))
    return SupervisedText(one.row.number, text, tuple(spans), complete, ends_each, left_out)


def _is_before_question(one: _Rendered, index: int) -> bool:
    following = one.messages[index + 1 : index + 2]
    return bool(following) and following[0].role == USER


def _start_of_next(regions: Sequence[Region], position: int, limit: int) -> int:
    behind = regions[position + 1].start if position + 1 < len(regions) else limit
    return min(behind, limit)


def _left_out(one: _Rendered):
    """What the template does not write of a row, turn by turn."""
    written: dict[int, str] = {}
    headers: dict[int, str] = {}
    behind = 0
    for region in one.regions or ():
        piece = one.text[region.start : region.end]
        written[region.index] = written.get(region.index, "") + piece
        headers[region.index] = one.text[behind : region.start]
        behind = region.end
    for index, message in enumerate(one.messages):
        yield from left_out_of(message, written.get(index, ""), headers.get(index, ""))
    names = [called_name(tool) for tool in parsed(one.row.tools, [])]
    lost = next((name for name in names if name not in one.text), None)
    if lost is not None:
        yield LeftOut("the tools", lost, is_learned=False)


def _cannot_follow(one: _Rendered, index: int) -> EngineError:
    return EngineError(
        tr(
            "The model's chat template rewrites row {number} so that the text of turn "
            "{index} ({role}) cannot be found in what it writes.",
            number=one.row.number,
            index=index + 1,
            role=one.messages[index].role,
        ),
        tr(
            "Change that turn's text (markup inside it is the usual cause), or use another "
            "base model."
        ),
    )
