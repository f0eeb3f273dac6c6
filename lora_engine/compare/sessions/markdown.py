"""A session as a Markdown document to read. What people and models wrote is quoted or escaped."""

from __future__ import annotations

import re

from lora_engine.compare.sessions.session import Session, SessionColumn


def as_markdown(session: Session) -> str:
    """Every question with each column's answer beneath it."""
    sampling = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in session.sampling)
    parts = [
        "# Comparison",
        f"Base {_inline(session.base)} ({session.base_fingerprint}); {sampling}.",
    ]
    if session.mode == "completion":
        parts.append("Every column continues the text as it stands.")
    parts += [
        f"**Warning:** {_inline(column.title)} {_inline(column.template_mismatch)}"
        for column in session.columns
        if column.template_mismatch
    ]
    if session.system.strip():
        parts += ["System prompt:", _quoted(session.system)]
    for place, message in enumerate(session.columns[0].turns):
        if message.role == "user":
            heading = "## Question" if session.mode == "chat" else "## Text"
            parts += [heading, _quoted(message.content)]
            parts += [part for column in session.columns for part in _answer(column, place + 1)]
    return "\n\n".join(parts) + "\n"


def _answer(column: SessionColumn, place: int) -> list[str]:
    if place >= len(column.turns) or column.turns[place].role != "assistant":
        return []
    heading = column.use.label(_inline(column.title))
    return [f"### {heading}", _quoted(column.turns[place].content)]


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines() or [""])


def _inline(text: str) -> str:
    """Text that stands in a line of Markdown as it is: no mark, no markup, no line break."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|&])", r"\\\1", " ".join(text.split()))
