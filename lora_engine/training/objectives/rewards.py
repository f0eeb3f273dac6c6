"""What an answer is worth by the rules of a GRPO run: each rule gives 1 or 0, times its weight.

Pure functions of the answer's text, so the same answer has the same reward on every machine. They
know no model and no row but its expected answer.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import regex

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spec import RewardRule, RuleKind

PATTERN_SECONDS = 2.0
NUMBER = regex.compile(r"(?<![\d.,])-?\d[\d,]*(?:\.\d+)?")
AROUND = " \t\n\r.,;:!?\"'`*()[]«»“”‘’"  # marks that say nothing at the ends of an answer


@dataclass(frozen=True)
class JudgedAnswer:
    """An answer as the rules see it. tokens: of the answer, without the one that ends it.

    expected: the row's own answer; None where the row has none.
    """

    text: str
    tokens: int
    expected: str | None


def reward_of(rules: Sequence[RewardRule], answer: JudgedAnswer) -> float:
    """Σ weight · score over the rules.

    Raises EngineError for a pattern that takes too long on the answer.
    """
    return sum(rule.weight * JUDGES[rule.kind](rule, answer) for rule in rules)


def normalized(text: str) -> str:
    """The text without case, doubled spaces, and marks at its ends (Unicode's form NFKC)."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(AROUND)


def last_number(text: str) -> Decimal | None:
    """The last number in the text; commas between digits are left out."""
    found = NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "")) if found else None


def _equal(rule: RewardRule, answer: JudgedAnswer) -> bool:
    if answer.expected is None:
        return False
    if rule.compare == "last_number":
        wanted = last_number(answer.expected)
        return wanted is not None and last_number(answer.text) == wanted
    wanted_text, given = normalized(answer.expected), normalized(answer.text)
    if rule.compare == "text":
        return given == wanted_text
    return _stands_in(wanted_text, given)


def _stands_in(words: str, text: str) -> bool:
    """Whether the words stand in the text, not as a part of other words."""
    at = text.find(words)
    while words and at >= 0:
        before, after = text[at - 1 : at], text[at + len(words) : at + len(words) + 1]
        if not before.isalnum() and not after.isalnum():
            return True
        at = text.find(words, at + 1)
    return False


def _matches(rule: RewardRule, answer: JudgedAnswer) -> bool:
    try:
        return regex.search(rule.pattern, answer.text, timeout=PATTERN_SECONDS) is not None
    except TimeoutError:
        raise EngineError(
            tr(
                "The pattern {pattern} took longer than {pattern_seconds} s on an answer of "
                "{count} characters.",
                pattern=f"{rule.pattern[:80]!r}",
                pattern_seconds=f"{PATTERN_SECONDS:g}",
                count=f"{len(answer.text):,}",
            ),
            tr("Write the pattern without repeats inside repeats, such as (a+)+."),
        ) from None


def _is_json(rule: RewardRule, answer: JudgedAnswer) -> bool:
    try:
        value = json.loads(answer.text)
    except (ValueError, RecursionError):
        return False
    if not rule.keys:
        return True
    return isinstance(value, dict) and all(key in value for key in rule.keys)


def _has_length(rule: RewardRule, answer: JudgedAnswer) -> bool:
    length = answer.tokens if rule.unit == "tokens" else len(answer.text)
    return (rule.minimum or 0) <= length and (rule.maximum is None or length <= rule.maximum)


JUDGES: dict[RuleKind, Callable[[RewardRule, JudgedAnswer], bool]] = {
    "equal": _equal,
    "regex": _matches,
    "json_valid": _is_json,
    "length": _has_length,
}
