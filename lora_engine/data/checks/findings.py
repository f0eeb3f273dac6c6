"""What a data check can find: each kind with its name, how bad it is, and what to do about it.

Knows no row. A finding never refuses anything: repeated rows or empty answers may be meant.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from lora_engine.errors import EngineError
from lora_engine.language import tr

Severity = Literal["serious", "look", "note"]
SHOWN_ROWS = 5
EXCERPT_CHARACTERS = 160


@dataclass(frozen=True)
class _About:
    """name: on the command line. title: for a heading. severity: `serious` costs the run
    something, `look` often does, `note` is good to know. remedy: what to do."""

    name: str
    title: str
    severity: Severity
    remedy: str


class FindingKind(Enum):
    """The kinds of findings, in the order in which they are shown."""

    NO_ANSWER = _About(
        "no_answer",
        "Nothing to learn",
        "serious",
        "The row has no answer that the loss is on. It is left out of training: give it one.",
    )
    LOST_ANSWER = _About(
        "lost_answer",
        "The whole answer is behind the limit",
        "serious",
        "Raise the longest row (max_length), or shorten what stands before the answer.",
    )
    EMPTY_ANSWER = _About(
        "empty_answer",
        "Empty answers",
        "serious",
        "An empty answer teaches the model to say nothing. Drop the row or give it an answer.",
    )
    ANSWER_IS_QUESTION = _About(
        "answer_is_question",
        "The answer repeats the question",
        "serious",
        "It teaches the model to copy. Drop the row, unless copying is the task.",
    )
    EQUAL_PAIR = _About(
        "equal_pair",
        "The chosen answer is the rejected one",
        "serious",
        "Nothing tells the two answers apart, so there is nothing to learn. Drop the row.",
    )
    ROLES = _About(
        "roles",
        "Turns out of order",
        "look",
        "A chat goes user, assistant, user, assistant. Many templates refuse another order.",
    )
    LEAK = _About(
        "leak",
        "Held-out rows that are nearly in training",
        "serious",
        "They make the evaluation loss look better than it is. Drop them.",
    )
    CUT = _About(
        "cut",
        "Longer than the limit",
        "look",
        "The end of the row is cut off. Raise the longest row (max_length), or split the row.",
    )
    DUPLICATE = _About(
        "duplicate",
        "The same as an earlier row",
        "look",
        "A repeated row counts twice. Drop it, unless it is to weigh more.",
    )
    NEAR_DUPLICATE = _About(
        "near_duplicate",
        "Nearly the same as an earlier row",
        "look",
        "It differs in case, spaces or punctuation alone. Drop it, unless that is the task.",
    )
    CONTRADICTION = _About(
        "contradiction",
        "The same question as an earlier row, and another answer",
        "look",
        "Where one answer is right, keep that one. Where several are, this is as it should be.",
    )
    SAME_ANSWER = _About(
        "same_answer",
        "One answer for most questions",
        "look",
        "The model learns to say it to everything. Drop most of these rows, or find more others.",
    )
    BROKEN_TEXT = _About(
        "broken_text",
        "Broken characters",
        "look",
        "The text was decoded in the wrong encoding, or holds control characters. Export it anew "
        "as UTF-8.",
    )
    TEMPLATE_LEFTOVER = _About(
        "template_leftover",
        "Marks of a chat template in the text",
        "look",
        "The text was written for a model once already. Give the plain turns; the base model's "
        "template writes its own marks.",
    )
    CONTROL_TOKEN = _About(
        "control_token",
        "Control tokens of the model in the text",
        "look",
        "The model takes them for structure. Take them out of the text.",
    )
    SECRET = _About(
        "secret",
        "Looks like a password, a key or an address",
        "look",
        "A model can repeat what it was trained on. Take it out before you share the adapter.",
    )
    MARKUP = _About(
        "markup",
        "Much HTML or many links",
        "note",
        "The model learns to write them. Strip the markup, unless it is meant.",
    )
    RARE_CLASS = _About(
        "rare_class",
        "Classes with fewer than five rows",
        "look",
        "So few rows teach no class, and the evaluation cannot measure it. Add some, or merge the "
        "class with another.",
    )

    @property
    def label(self) -> str:
        """Its name on the command line and in JSON."""
        return self.value.name

    @property
    def title(self) -> str:
        return self.value.title

    @property
    def severity(self) -> Severity:
        return self.value.severity

    @property
    def remedy(self) -> str:
        return self.value.remedy


@dataclass
class Finding:
    """All rows of one kind. places: their places in the dataset, from 0. shown: the numbers of the
    first rows as the file counts them, and excerpts: what was found in each; empty for a secret."""

    kind: FindingKind
    places: array[int] = field(default_factory=lambda: array("Q"))
    shown: list[int] = field(default_factory=list)
    excerpts: list[str] = field(default_factory=list)

    def add(self, place: int, number: int, excerpt: str) -> None:
        if len(self.shown) < SHOWN_ROWS:
            self.shown.append(number)
            self.excerpts.append(shortened(excerpt))
        self.places.append(place)

    @property
    def numbers(self) -> str:
        """The numbers of the first rows, in words."""
        more = ", …" if len(self.places) > len(self.shown) else ""
        return ", ".join(map(str, self.shown)) + more

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind.label,
            "title": self.kind.title,
            "severity": self.kind.severity,
            "rows": len(self.places),
            "first_rows": self.shown,
            "excerpts": self.excerpts,
            "remedy": self.kind.remedy,
        }


def shortened(text: str) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT_CHARACTERS else f"{line[:EXCERPT_CHARACTERS]}…"


def kinds_named(names: Sequence[str]) -> tuple[FindingKind, ...]:
    """The kinds of these names. Raises EngineError for a name that there is not."""
    known = {kind.label: kind for kind in FindingKind}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise EngineError(
            tr("There is no finding called {map}.", map=", ".join(map(repr, unknown))),
            tr("Choose from {known}.", known=", ".join(known)),
        )
    return tuple(dict.fromkeys(known[name] for name in names))
