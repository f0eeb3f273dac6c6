"""Rows as questions to answer: the tokens before a row's last answer, and that answer as a text.

For objectives that let the model answer by itself. The tokens are what Compare would ask the model
with: rendered by the template up to where the answer begins. Without a template, the texts as they
stand. A question longer than the limit is left out, never cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data.bundled_templates import NO_TEMPLATE_NAME
from lora_engine.data.plain_text import continuation_tokens
from lora_engine.data.rows import Message, Row
from lora_engine.data.templates import Conversation, chat_template_of, render
from lora_engine.data.tokenization import IGNORED, TokenizedRow
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spec import RewardRule

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PromptRow(TokenizedRow):
    """A question's tokens, none of them supervised. expected: the row's own answer, None where it
    has none. text: the last turn of the question."""

    expected: str | None = None
    text: str = ""


@dataclass(frozen=True)
class Prompts:
    """The questions of a dataset. template: as in `Tokenization`. too_long: numbers of the rows
    left out because their question is over the limit."""

    rows: tuple[PromptRow, ...]
    template: str
    too_long: tuple[int, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        if not self.too_long:
            return ()
        return (
            tr(
                "{count} questions are over the longest row and left out",
                count=f"{len(self.too_long):,}",
            ),
        )


def prompt_rows(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Prompts:
    """Every row's question, in the order of the rows.

    Raises EngineError for a row that asks nothing, and where no question is within the limit.
    """
    asked = [_question_of(row) for row in rows]
    template = chat_template_of(tokenizer)
    if template.name == NO_TEMPLATE_NAME:
        texts = ["".join(turn.content for turn in turns) for turns, _ in asked]
        ids = continuation_tokens(texts, tokenizer)
    else:
        conversations = [
            Conversation(row.number, turns, add_generation_prompt=True, tools=row.tools)
            for row, (turns, _) in zip(rows, asked, strict=True)
        ]
        texts = render(template, conversations)
        ids = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    made = [
        PromptRow(row.number, tuple(own), (IGNORED,) * len(own), False, expected, turns[-1].content)
        for row, own, (turns, expected) in zip(rows, ids, asked, strict=True)
    ]
    kept = tuple(row for row in made if len(row.input_ids) <= max_length)
    if not kept:
        raise EngineError(
            tr(
                "None of the {count} questions is within {max_length} tokens.",
                count=f"{len(rows):,}",
                max_length=f"{max_length:,}",
            ),
            tr("Raise the longest row (max_length), or shorten the questions."),
        )
    too_long = tuple(row.number for row in made if len(row.input_ids) > max_length)
    name = "" if template.name == NO_TEMPLATE_NAME else template.name
    return Prompts(kept, name, too_long)


def refuse_unanswerable(rows: Iterable[Row], rules: Sequence[RewardRule]) -> None:
    """Raises EngineError for a row that asks nothing, and for rows without an answer where a rule
    compares with it."""
    compares = any(rule.kind == "equal" for rule in rules)
    for row in rows:
        _, expected = _question_of(row)
        if compares and expected is None:
            raise EngineError(
                tr(
                    "Row {number} has no answer, and a rule compares with it (equal).",
                    number=f"{row.number:,}",
                ),
                tr("Give every row the answer that is expected, or choose other rules."),
            )


def _question_of(row: Row) -> tuple[tuple[Message, ...], str | None]:
    """The turns before the last answer, and that answer. Raises EngineError where none asks."""
    turns = row.messages
    expected = None
    if turns and turns[-1].role == "assistant":
        turns, expected = turns[:-1], turns[-1].content
    if not turns:
        raise EngineError(
            tr(
                "Row {number} asks nothing: grpo lets the model answer questions.",
                number=f"{row.number:,}",
            ),
            tr("Give rows with a question (prompt, or a turn of the user's)."),
        )
    return turns, expected
