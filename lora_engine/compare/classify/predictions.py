"""What a classifier predicts for a text, as values: classes with probabilities, or tagged words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class PredictedText:
    """The classes of a text with their probabilities, the likeliest first.

    read_characters: how much of the text stood within the model's limit.
    """

    classes: tuple[tuple[str, float], ...]
    read_characters: int

    @property
    def label(self) -> str:
        return self.classes[0][0]

    def as_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "probabilities": dict(self.classes),
            "read_characters": self.read_characters,
        }


@dataclass(frozen=True)
class PredictedWord:
    """A word from character `start` up to `end`, its likeliest tag and that tag's probability."""

    text: str
    start: int
    end: int
    tag: str
    probability: float


@dataclass(frozen=True)
class PredictedSpan:
    """An entity, or a word of a class; probability: the mean of its words'."""

    name: str
    text: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True)
class PredictedWords:
    """The words of a text with their tags, and the spans that these mean, from left to right."""

    words: tuple[PredictedWord, ...]
    spans: tuple[PredictedSpan, ...]
    read_characters: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Prediction:
    """One text, and what each column predicts for it."""

    text: str
    columns: Mapping[str, PredictedText | PredictedWords]

    @property
    def is_cut(self) -> bool:
        """Whether the end of the text was not read."""
        return any(one.read_characters < len(self.text.rstrip()) for one in self.columns.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "is_cut": self.is_cut,
            "columns": [{"name": name, **one.as_json()} for name, one in self.columns.items()],
        }
