"""The languages that a base model is known not to know: the starter reads English alone.

Of other models nothing is known here, and nothing is said.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from lora_engine.base_models import STARTER, BaseModel
from lora_engine.language import tr

SHARE = 0.2  # of a prompt's letters; a name or a quoted word may be in any script


def language_notes(base: BaseModel, prompts: Sequence[str]) -> list[str]:
    """What a person should know before they judge answers to these prompts: nothing, or a note."""
    if base.name != STARTER or not any(in_other_letters(prompt) for prompt in prompts):
        return []
    return [
        tr(
            "The starter knows only English. To it the characters of your question all look alike, "
            "whatever adapter it has: ask in English, or choose a base that knows your language."
        )
    ]


def in_other_letters(text: str) -> bool:
    """Whether more than a few of a text's letters are not Latin ones, as Chinese characters."""
    letters = [sign for sign in text if sign.isalpha()]
    others = sum("LATIN" not in unicodedata.name(sign, "") for sign in letters)
    return others > SHARE * len(letters)
