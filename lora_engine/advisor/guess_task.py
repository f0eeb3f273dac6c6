"""What kind of task a dataset seems to be, guessed from some of its rows; always said as a guess.

Knows nothing of models. A person's own word goes before it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lora_engine.advisor.evidence import AdvisedTask
from lora_engine.data import Row
from lora_engine.data.thoughts import split_thoughts
from lora_engine.language import tr, translatable
from lora_engine.spec import Task

MANY = 0.3  # share of the rows that makes a trait the dataset's own
FEW_CLASSES = 20
SHORT_LINE = 60  # characters; a line of verse is seldom longer
CODE = re.compile(r"```|^\s*(def |class |import |from \S+ import|#include|public |function )", re.M)
STEPS = re.compile(r"\\boxed|^####|\bstep (1|one)\b", re.I | re.M)


@dataclass(frozen=True)
class TaskGuess:
    """The task, and the trait of the rows that it was guessed from."""

    task: AdvisedTask
    why: str


def guess_task(rows: Sequence[Row], task: Task) -> TaskGuess:
    """The kind of task of these rows. task: the spec's, which settles it for classifiers."""
    if task == "token_classification":
        return TaskGuess("entities", tr("each word has a class"))
    if task == "sequence_classification":
        return TaskGuess("classification", tr("each text has a class"))
    answers = [_answer(row) for row in rows]
    if any(row.messages for row in rows) and _are_classes(answers):
        return TaskGuess("classification", tr("the answers are few and short"))
    for guessed, trait, why in TRAITS:
        if sum(map(trait, answers)) >= MANY * len(answers):
            return TaskGuess(guessed, tr(why))
    if not any(row.messages for row in rows):
        return TaskGuess("style", tr("the rows are plain text"))
    return TaskGuess("faq", tr("the rows are questions with answers"))


def _answer(row: Row) -> str:
    """What the row teaches: its assistant's turns with their thoughts, or its text."""
    turns = (turn for turn in row.messages if turn.role == "assistant")
    said = "\n".join(
        f"<think>{turn.reasoning}</think>{turn.content}" if turn.reasoning else turn.content
        for turn in turns
    )
    return said or row.text or ""


def _are_classes(answers: Sequence[str]) -> bool:
    distinct = set(answers)
    return len(distinct) <= min(FEW_CLASSES, len(answers) // 4) and all(
        len(answer.split()) <= 3 for answer in distinct
    )


def _has_thoughts(answer: str) -> bool:
    return bool(split_thoughts(answer)[0]) or bool(STEPS.search(answer))


def _is_json(answer: str) -> bool:
    try:
        return isinstance(json.loads(answer), dict | list)
    except (ValueError, RecursionError):
        return False


def _is_verse(answer: str) -> bool:
    lines = [line for line in answer.splitlines() if line.strip()]
    short = sum(len(line) <= SHORT_LINE for line in lines)
    return len(lines) >= 4 and short >= 0.8 * len(lines)


TRAITS: tuple[tuple[AdvisedTask, Callable[[str], bool], str], ...] = (
    ("reasoning", _has_thoughts, translatable("answers come with thoughts or steps")),
    ("code", lambda answer: bool(CODE.search(answer)), translatable("answers contain code")),
    ("style", _is_json, translatable("answers are JSON, a format to learn")),
    ("verse", _is_verse, translatable("the text is in short lines")),
)
