"""Preference rows for tests: pairs of answers, and answers said to be good or bad."""

from __future__ import annotations

import json
from pathlib import Path


def pair_rows(count: int) -> list[dict]:
    """Answers of different lengths, so that nothing is equal by chance."""
    good = ("Blue and green.", "Grass.", "The sky is blue and the grass is green.")
    bad = ("Go.", "Red sky and five and three.", "No, not that.", "Eight.")
    return [
        {
            "prompt": f"What colour is thing {number}?",
            "chosen": good[number % 3],
            "rejected": bad[number % 4],
        }
        for number in range(count)
    ]


def judged_rows(count: int) -> list[dict]:
    """Two good answers for each bad one."""
    return [
        {
            "prompt": row["prompt"],
            "completion": row["chosen" if number % 3 else "rejected"],
            "label": number % 3 != 0,
        }
        for number, row in enumerate(pair_rows(count))
    ]


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path
