"""Sentences that are kept for later readers: said now, and said again in each one's language.

What stands in a cache on disk is the sentence's message with its values, not one language's text.
"""

from __future__ import annotations

from typing import Any

from lora_engine.language import tr


class Said(str):
    """A sentence in the present language that knows what it was made of."""

    message: str
    values: dict[str, object]


def said(message: str, /, **values: object) -> Said:
    """As `tr`, and can be kept (`to_keep`); a value may be Said too."""
    text = Said(tr(message, **values))
    text.message, text.values = message, values
    return text


def said_count(one: str, several: str, count: int, /, **values: object) -> Said:
    """As `tr_count`, and can be kept."""
    return said(one if count == 1 else several, count=f"{count:,}", **values)


def to_keep(text: object) -> Any:
    """The sentence as JSON: its message and values where it has them, else its text."""
    if isinstance(text, Said):
        return [text.message, {name: to_keep(value) for name, value in text.values.items()}]
    return str(text)


def kept(document: Any) -> str:
    """A sentence as `to_keep` wrote it, in the present language."""
    if isinstance(document, str):
        return document
    message, values = document
    return said(message, **{name: kept(value) for name, value in values.items()})
