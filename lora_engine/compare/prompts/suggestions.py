"""Prompts to click: held-out questions of the data an adapter was trained on, or general ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from lora_engine.adapters.config import read_provenance
from lora_engine.starter import DATASET_NAMES, heldout_path

GENERAL = ("Hello! Who are you?", "What colour is the sky?", "Name three animals.")
QUESTION_KEYS = ("prompt", "instruction")


def suggested_prompts(adapters: Sequence[Path]) -> tuple[str, ...]:
    """Three prompts, from the first adapter's bundled dataset where it has one."""
    for folder in adapters:
        name = _dataset_of(folder).removeprefix("starter:")
        if name in DATASET_NAMES:
            with heldout_path(name).open(encoding="utf-8") as rows:
                return tuple(_question(json.loads(row)) for row in islice(rows, 3))
    return GENERAL


def _dataset_of(folder: Path) -> str:
    """The dataset an adapter's provenance names, or nothing; the file is not ours to trust."""
    try:
        return str(read_provenance(folder)["spec"]["dataset"]["source"])
    except (KeyError, TypeError):
        return ""


def _question(row: dict) -> str:
    if "messages" in row:
        return row["messages"][0]["content"]
    return next(row[key] for key in QUESTION_KEYS if key in row)
