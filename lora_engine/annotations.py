"""A person's notes and tags, checked: for runs and for adapters. Knows neither."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr
from lora_engine.names import is_seen_whole

MAX_NOTE = 4000
MAX_TAG = 40
MAX_TAGS = 20


def read_note(text: str) -> str:
    """A person's note without surrounding space. Raises InvalidInput."""
    note = text.strip()
    allowed = all(sign.isprintable() or sign in "\n\t" for sign in note)
    if len(note) > MAX_NOTE or not allowed:
        message = f"{len(note):,} characters; at most {MAX_NOTE:,}, all printable, are allowed"
        raise InvalidInput(
            tr("The note"), [FieldProblem("note", message)], tr("Shorten or correct it.")
        )
    return note


def stored_tags(text: str) -> tuple[str, ...] | None:
    """The tags in a database's row; None where another program wrote something else there."""
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
    return tuple(map(str, found)) if isinstance(found, list) else None


def read_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """A person's tags, stripped, each once, in their order. Raises InvalidInput."""
    found = tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
    problems = [
        FieldProblem(
            f"tags.{number}",
            tr("at most {max_tag} printable characters, no comma", max_tag=MAX_TAG),
        )
        for number, tag in enumerate(found)
        if len(tag) > MAX_TAG or not is_seen_whole(tag) or "," in tag
    ]
    if len(found) > MAX_TAGS:
        problems.append(
            FieldProblem(
                "tags",
                tr(
                    "{count} tags; at most {max_tags} are allowed",
                    count=len(found),
                    max_tags=MAX_TAGS,
                ),
            )
        )
    if problems:
        raise InvalidInput(tr("The tags"), problems, tr("Shorten or correct them."))
    return found
