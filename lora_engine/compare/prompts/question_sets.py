"""Where a question for a blind vote comes from: the person, the adapter's own data, or general."""

from __future__ import annotations

import random
from enum import StrEnum
from pathlib import Path

from lora_engine.compare.prompts.general_questions import general_rows
from lora_engine.compare.prompts.held_out_rows import held_out_rows
from lora_engine.compare.prompts.prompt_file import case_from_row
from lora_engine.errors import EngineError
from lora_engine.settings import Settings


class QuestionSet(StrEnum):
    OWN = "my own questions"
    HELD_OUT = "held-out rows of the first adapter"
    GENERAL = "general questions"


def draw_question(wanted: QuestionSet, adapter: Path, settings: Settings) -> str:
    """One question at random. Raises EngineError for a set that has none to draw."""
    if wanted is QuestionSet.OWN:
        raise EngineError(
            "Your own questions are not drawn.", "Write one, or choose another set of prompts."
        )
    rows = general_rows() if wanted is QuestionSet.GENERAL else held_out_rows(adapter, settings)
    return case_from_row(random.choice(rows)).prompt
