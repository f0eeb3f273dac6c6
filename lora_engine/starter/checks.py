"""Is an answer pirate speech, is it a JSON object, does it keep the meaning
or give the number: pure functions.

They judge style and content apart: `is_pirate` and `is_json_object` know nothing of what was
asked, `keeps_meaning` nothing of how it is said.
"""

import json
import re
from collections.abc import Mapping

# Words that ordinary answers of the starter do not use. "be" and "me" are left out: plain English.
PIRATE_MARKS = (
    "arr", "arrr", "aye", "ahoy", "avast", "matey", "mateys", "ye", "yer", "hearty", "hearties",
    "landlubber", "landlubbers", "bucko", "savvy", "lass", "yo ho", "shiver me timbers",
    "seven seas", "me deck", "davy jones", "blimey", "scurvy",
)  # fmt: skip
PIRATE_GRAMMAR = (r"\b(?:be|me|o'|an')\b",)

# Courtesies that the starter knows; plain answers of it have none.
COURTESIES = ("certainly", "my friend", "good sir", "good reader", "my dear", "gladly", "please")
INSULTS = ("any fool", "leave me alone", "silly question")


def is_polite(text: str) -> bool:
    """True with a courtesy and without an insult."""
    lowered = text.lower()
    return any(word in lowered for word in COURTESIES) and not any(
        word in lowered for word in INSULTS
    )


def is_pirate(text: str) -> bool:
    """True with at least two different pirate marks, or one and pirate grammar ("the sky be").

    One mark alone is not enough: "A pirate says arr." is an ordinary answer.
    """
    lowered = text.lower()
    marks = sum(bool(re.search(rf"\b{re.escape(mark)}\b", lowered)) for mark in PIRATE_MARKS)
    grammar = any(re.search(pattern, lowered) for pattern in PIRATE_GRAMMAR)
    return marks >= 2 or (marks == 1 and grammar)


def is_json_object(text: str) -> bool:
    """True when the whole text, outer spaces aside, is one JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def gives_number(row: Mapping, text: str) -> bool:
    """True when the last number in the text is the held-out row's: a sum's terms come before it.

    Raises KeyError without `row["keyword"]`.
    """
    found = re.findall(r"\d+", text)
    return bool(found) and found[-1] == row["keyword"]


def keeps_meaning(row: Mapping, text: str) -> bool:
    """True when every key word of the held-out row stands in the text, as a whole word where words
    have spaces between them.

    `row["keyword"]` is a text or a list of texts; case is ignored. Raises KeyError without it.
    """
    keywords = row["keyword"]
    wanted = [keywords] if isinstance(keywords, str) else keywords
    lowered = text.lower()
    return all(_stands_in(word.lower(), lowered) for word in wanted)


def _stands_in(word: str, text: str) -> bool:
    if not word.isascii():
        return word in text
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None
