"""Prompts from a file: JSON Lines (a string, or an object with a question in it), or plain text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lora_engine.errors import EngineError, NotFound

MAX_BYTES = 20_000_000
KEYS = ("prompt", "instruction", "question", "text")


def read_prompts(path: Path) -> list[str]:
    """The prompts in a file, in order; empty lines are left out.

    `.jsonl`: one JSON value a line, a string or an object with `prompt`, `instruction`,
    `question`, `text` or `messages` (its first user turn). Any other file: one prompt a line.
    Raises NotFound, or EngineError naming the line that holds no prompt.
    """
    if not path.is_file():
        raise NotFound(f"There is no file {path}.", "Give the path of a prompt file.")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise EngineError(f"{path} has {size:,} bytes.", f"At most {MAX_BYTES:,} are allowed.")
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise EngineError(f"{path} is not UTF-8 text ({error}).", "Save it as UTF-8.") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if path.suffix != ".jsonl":
        return [line.strip() for _, line in numbered]
    return [_prompt_in(line, number) for number, line in numbered]


def _prompt_in(line: str, number: int) -> str:
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise EngineError(f"Line {number} is not JSON ({error}).", "Correct that line.") from None
    if isinstance(value, dict):
        value = next((value[key] for key in KEYS if key in value), value)
    if isinstance(value, dict):
        turns = value.get("messages") or []
        value = next((turn.get("content") for turn in turns if turn.get("role") == "user"), None)
    if not isinstance(value, str) or not value.strip():
        raise EngineError(
            f"Line {number} holds no prompt.",
            f"Give a string, or an object with one of {', '.join(KEYS)} or messages.",
        )
    return value
