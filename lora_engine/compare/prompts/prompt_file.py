"""Prompts from a file or a field: JSON Lines, CSV or plain text, each with what is expected.

A JSON object may carry the expected answer beside the question, so that rows of a dataset are
checked against their own answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_engine.data import Row
from lora_engine.data.record_files import read_records
from lora_engine.errors import EngineError, NotFound
from lora_engine.foreign_files import decode_text, json_complaint
from lora_engine.language import tr

MAX_BYTES = 20_000_000
MAX_BEGINNING = 200  # characters of a text that is given to be continued
KEYS = ("prompt", "instruction", "question", "text")
EXPECTED_KEYS = ("expected", "completion", "output", "answer")


@dataclass(frozen=True)
class PromptCase:
    """A question, and the answer that is expected where one is known."""

    prompt: str
    expected: str | None = None

    def as_line(self) -> str:
        """One line for a field or a file: the bare question, or JSON where there is more."""
        if self.expected is None and "\n" not in self.prompt and self.prompt.strip()[:1] != "{":
            return self.prompt.strip()
        document = {"prompt": self.prompt, "expected": self.expected}
        return json.dumps({key: text for key, text in document.items() if text is not None})


def read_cases(path: Path) -> list[PromptCase]:
    """The prompts in a file, in order; empty lines are left out.

    `.jsonl`: one JSON value a line, a string or an object with `prompt`, `instruction`,
    `question`, `text` or `messages` (its first user turn); `expected`, `completion`, `output`,
    `answer` or the last assistant turn is what is expected. `.csv`, `.tsv`: the same names as
    columns.
    Any other file: as `parse_cases`.
    Raises NotFound, or EngineError naming the line that holds no prompt.
    """
    if not path.is_file():
        raise NotFound(
            tr("There is no file {path}.", path=path), tr("Give the path of a prompt file.")
        )
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise EngineError(
            tr("{name} has {size} bytes.", name=path.name, size=f"{size:,}"),
            tr("At most {max_bytes} are allowed.", max_bytes=f"{MAX_BYTES:,}"),
        )
    if path.suffix.lower() in (".csv", ".tsv"):
        records = read_records(path, path.name)
        return [_case(record.value, f"Row {record.number}") for record in records]
    lines = decode_text(path.read_bytes(), path.name).splitlines()
    return list(_cases(lines, all_json=path.suffix.lower() == ".jsonl"))


def read_prompts(path: Path) -> list[str]:
    """The questions alone, as `read_cases` finds them."""
    return [case.prompt for case in read_cases(path)]


def parse_cases(text: str) -> list[PromptCase]:
    """One prompt a line; a line that begins with `{` is a JSON object as in `read_cases`."""
    return list(_cases(text.splitlines(), all_json=False))


def case_from_row(row: Row) -> PromptCase:
    """A dataset's row as a prompt: its first question and the answer to that; of a text, its
    beginning, up to the end of a word."""
    for place, turn in enumerate(row.messages):
        if turn.role == "user":
            following = row.messages[place + 1 : place + 2]
            return PromptCase(turn.content, following[0].content if following else None)
    return PromptCase(_beginning(row.text or ""))


def _beginning(text: str) -> str:
    cut = text[:MAX_BEGINNING]
    ends = [place for place, character in enumerate(cut) if place and character.isspace()]
    return cut if len(text) <= MAX_BEGINNING or not ends else cut[: ends[-1]].rstrip()


def _cases(lines: Iterable[str], all_json: bool) -> Iterable[PromptCase]:
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        if all_json or text.startswith("{"):
            yield _case(_json(text, number), f"Line {number}")
        else:
            yield PromptCase(text)


def _json(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise EngineError(
            tr(
                "Line {number} is not JSON ({json_complaint}).",
                number=number,
                json_complaint=json_complaint(error, one_line=True),
            ),
            tr("Correct that line."),
        ) from None


def _case(value: Any, where: str) -> PromptCase:
    if not isinstance(value, dict):
        return PromptCase(_text(value, where))
    prompt = next((value[key] for key in KEYS if key in value), None)
    expected = next((value[key] for key in EXPECTED_KEYS if key in value), None)
    turns = value.get("messages")
    if prompt is None and isinstance(turns, list):
        prompt = next((_content(turn) for turn in turns if _is_by(turn, "user")), None)
        expected = next((_content(turn) for turn in turns if _is_by(turn, "assistant")), expected)
    return PromptCase(_text(prompt, where), expected if isinstance(expected, str) else None)


def _is_by(turn: Any, role: str) -> bool:
    return isinstance(turn, dict) and turn.get("role") == role


def _content(turn: dict) -> Any:
    return turn.get("content")


def _text(value: Any, where: str) -> str:
    if isinstance(value, str) and value.strip():
        return value
    raise EngineError(
        tr("{where} holds no prompt.", where=where),
        tr("Give a string, or an object with one of {keys} or messages.", keys=", ".join(KEYS)),
    )
