"""What a question-and-answer fact is, and how facts are split into training and held-out questions.

A fact is one answer with every way of asking for it. The split is by a hash of the question (or of
the fact's `group`, when all ways of asking must be held out together, as for a pair of numbers), so
it is the same on every machine and needs no list.
"""

import hashlib
import re
from dataclasses import dataclass

HELD_OUT_PERCENT = 6


@dataclass(frozen=True)
class Fact:
    """One answer and the ways to ask for it.

    `keyword` is what the answer is about ("blue"), `topic` what was asked about ("sky").
    `closed` facts have exactly one right answer. `group`, when given, is held out as a whole.
    """

    intent: str
    topic: str
    keyword: str
    answer: str
    questions: tuple[str, ...]
    group: str = ""
    closed: bool = True


def listed(words: str) -> tuple[str, ...]:
    """The words of a line, as a table writes them."""
    return tuple(words.split())


def with_article(noun: str) -> str:
    """ "a cow", "an owl"."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def sentence(text: str) -> str:
    """The text with its first letter capital; nothing else changes."""
    return text[0].upper() + text[1:]


def normalize(question: str) -> str:
    """The question without case, punctuation and doubled spaces: two prompts are the same when
    these are equal."""
    return " ".join(re.findall(r"[a-z0-9+*/'\u4e00-\u9fff-]+", question.lower()))


def stable_hash(text: str) -> int:
    """A number that depends on the text alone (Python's own hash changes between processes)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def is_held_out(fact: Fact, question: str) -> bool:
    """Whether this question may be used for testing only."""
    return stable_hash(fact.group or normalize(question)) % 100 < HELD_OUT_PERCENT


def training_questions(fact: Fact) -> tuple[str, ...]:
    return tuple(q for q in fact.questions if not is_held_out(fact, q))


def held_out_questions(fact: Fact) -> tuple[str, ...]:
    return tuple(q for q in fact.questions if is_held_out(fact, q))
