"""A mixture as a person types it: one set a line, its weight before its name.

    2 starter:pirate
    1 my-rows.csv
    {"source": "org/name", "split": "test", "weight": 0.5}

A line without a number has the weight 1; a line in JSON may say everything of a set. Nothing is
checked here: what is no set goes on as it is, for the spec to name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lora_engine.spec import MixturePart


def mixture_text(parts: Sequence[MixturePart]) -> str:
    """The lines for these sets."""
    return "\n".join(map(_line, parts))


def mixture_read(text: str) -> list[Any]:
    """The sets in these lines, as the spec's document has them."""
    return [_read(line.strip()) for line in text.splitlines() if line.strip()]


def _line(part: MixturePart) -> str:
    said = part.model_dump(mode="json", exclude_defaults=True)
    if said.keys() <= {"source", "weight"} and not part.source.startswith("{"):
        return f"{part.weight:g} {part.source}"
    return json.dumps(said, ensure_ascii=False)


def _read(line: str) -> Any:
    if line.startswith("{"):
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            return line
    first, _, rest = line.partition(" ")
    try:
        weight = float(first)
    except ValueError:
        return {"source": line}
    return {"source": rest.strip(), "weight": weight} if rest.strip() else {"source": line}
