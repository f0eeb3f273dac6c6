"""The usual other names of the formats' columns, so that common files need no mapping.

Only names whose meaning is plain from the pair: question and answer, a list of turns called
conversation. Knows nothing of rows.
"""

from __future__ import annotations

from typing import Any

from lora_engine.data.turns import is_turn

TURN_LISTS = ("conversation", "dialogue", "dialog", "dialogs", "chat", "turns", "items")
# What is asked and what is answered; an instruction may have an input besides.
PAIRS = (
    ("question", "answer"),
    ("question", "response"),
    ("query", "answer"),
    ("query", "response"),
    ("prompt", "answer"),
    ("prompt", "response"),
    ("prompt", "output"),
    ("input", "output"),
    ("input", "response"),
    ("input", "target"),
    ("inputs", "targets"),
    ("problem", "solution"),
    ("user", "assistant"),
)
OUTPUTS = ("response", "answer", "completion")


def other_names(format: str, fields: dict[str, Any]) -> dict[str, str]:
    """The format's column to the file's for the columns of this record; empty where none differ.

    format: one whose needed columns are there, or "auto" where no format's are.
    """
    if format == "alpaca":
        return _context_as_input(fields)
    if format != "auto":
        return {}
    for name in TURN_LISTS:
        value = fields.get(name)
        if isinstance(value, list) and value and all(map(is_turn, value)):
            return {"messages": name}
    for name in OUTPUTS:
        if _are_texts(fields, "instruction", name):
            return {"output": name, **_context_as_input(fields)}
    for prompt, answer in PAIRS:
        if _are_texts(fields, prompt, answer):
            return {
                role: n for role, n in (("prompt", prompt), ("completion", answer)) if role != n
            }
    return {}


def _context_as_input(fields: dict[str, Any]) -> dict[str, str]:
    """Dolly's name of what an instruction is about."""
    return {"input": "context"} if "context" in fields and "input" not in fields else {}


def _are_texts(fields: dict[str, Any], *names: str) -> bool:
    return all(isinstance(fields.get(name), str) for name in names)
