"""The result of a prompt set: each answer with its check and length, and all as JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from lora_engine.compare.generate.prompt_set import PromptAnswers
from lora_engine.compare.prompts.prompt_file import PromptCase
from lora_engine.compare.scoring.answer_checks import Check, passes


@dataclass(frozen=True)
class CheckedAnswer:
    """An answer and its check; passes is None without a check or an expected answer."""

    name: str
    text: str
    tokens: int
    passes: bool | None


@dataclass(frozen=True)
class ReportRow:
    """One prompt, what was expected of it, and every column's answer."""

    prompt: str
    expected: str | None
    answers: tuple[CheckedAnswer, ...]


def check_answers(
    cases: Sequence[PromptCase],
    answered: Sequence[PromptAnswers],
    check: Check | None,
    expected: str,
) -> list[ReportRow]:
    """Every answered prompt with its checks; `expected` stands in where a case has none of its own.

    An empty text is nothing to expect: only `json` checks such an answer.
    Raises EngineError for a pattern that is wrong, too long, or takes too long.
    """
    columns = len(answered[0].answers) if answered else 0
    wanted = [case.expected or expected or None for case, _ in zip(cases, answered, strict=False)]
    if check == "regex":
        wanted = [expected or None for _ in answered]
    verdicts = [_verdicts(check, answered, wanted, place) for place in range(columns)]
    return [
        ReportRow(
            item.prompt,
            wanted[row],
            tuple(
                CheckedAnswer(answer.name, answer.text, answer.tokens, verdicts[place][row])
                for place, answer in enumerate(item.answers)
            ),
        )
        for row, item in enumerate(answered)
    ]


def as_jsonl(rows: Sequence[ReportRow]) -> str:
    """One JSON object a row."""
    return "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)


def _verdicts(
    check: Check | None,
    answered: Sequence[PromptAnswers],
    wanted: Sequence[str | None],
    place: int,
) -> list[bool | None]:
    """The checks of one column; answers with one expected text are checked together."""
    if check is None:
        return [None] * len(answered)
    found: list[bool | None] = [None] * len(answered)
    for text in set(wanted):
        if text is None and check != "json":
            continue
        rows = [row for row, other in enumerate(wanted) if other == text]
        texts = [answered[row].answers[place].text for row in rows]
        for row, passed in zip(rows, passes(check, texts, text or ""), strict=True):
            found[row] = passed
    return found
