"""Questions for a person who has none of their own: three to click, and one drawn for a vote."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from enum import StrEnum
from itertools import islice
from pathlib import Path

from lora_engine.adapters.config import read_provenance
from lora_engine.compare.prompts.general_questions import general_rows
from lora_engine.compare.prompts.held_out_rows import load_held_out_rows
from lora_engine.compare.prompts.prompt_file import case_from_row
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.starter import DATASET_NAMES, heldout_path

GENERAL = ("Hello! Who are you?", "What colour is the sky?", "Name three animals.")
BEGINNINGS = ("Once upon a time", "The sky is", "In the morning")
QUESTION_KEYS = ("prompt", "instruction")


class QuestionSet(StrEnum):
    """Where the questions of blind votes come from; the values are kept with the votes."""

    OWN = "my own questions"
    HELD_OUT = "held-out rows of the first adapter"
    GENERAL = "general questions"


def suggested_prompts(adapters: Sequence[Path], continues: bool = False) -> tuple[str, ...]:
    """Three prompts: held-out questions of the first adapter trained on a bundled dataset, else
    general ones, or beginnings of a text to continue."""
    for folder in adapters:
        name = _dataset_of(folder).removeprefix("starter:")
        if name in DATASET_NAMES and name != "entities":
            with heldout_path(name).open(encoding="utf-8") as rows:
                return tuple(_question(json.loads(row)) for row in islice(rows, 3))
    return BEGINNINGS if continues else GENERAL


def draw_question(wanted: QuestionSet, adapter: Path, settings: Settings) -> str:
    """One question at random.

    Raises EngineError for the person's own questions, and as `load_held_out_rows`.
    """
    if wanted is QuestionSet.OWN:
        raise EngineError(
            tr("Your own questions are not drawn."),
            tr("Write one, or choose another set of prompts."),
        )
    rows = (
        general_rows() if wanted is QuestionSet.GENERAL else load_held_out_rows(adapter, settings)
    )
    return case_from_row(random.choice(rows)).prompt


def _dataset_of(folder: Path) -> str:
    """The dataset an adapter's provenance names, or nothing; the file is not ours to trust."""
    try:
        return str((read_provenance(folder) or {})["spec"]["dataset"]["source"])
    except (KeyError, TypeError):
        return ""


def _question(row: dict) -> str:
    if "messages" in row:
        return row["messages"][0]["content"]
    return next(row[key] for key in QUESTION_KEYS if key in row)
