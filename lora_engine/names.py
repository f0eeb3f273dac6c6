"""Names that people give: those that are only shown, and those that name a file or a folder.

One rule for each. Who takes a name says in his own words what is allowed, and which names mean
something else there. Knows no folder.
"""

from __future__ import annotations

import re

MAX_PLAIN = 80
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_.\-]+")


def is_seen_whole(text: str) -> bool:
    """Whether a name can be read as it is: on one line, with no sign that is not seen or that turns
    the others round."""
    return bool(text.strip()) and text.isprintable()


def is_plain(text: str, most: int = MAX_PLAIN, more: str = "") -> bool:
    """Whether a name can be a file's, on every system and in every command: letters, digits, _ . -
    and `more`, the first a letter or a digit."""
    for sign in more:
        text = text[:1] + text[1:].replace(sign, "-")
    return len(text) <= most and _PLAIN.fullmatch(text) is not None


def plain_from(text: str, most: int, otherwise: str) -> str:
    """A plain name out of any text; `otherwise` where nothing of it is left."""
    return _NOT_PLAIN.sub("-", text).strip(".-_")[:most] or otherwise
