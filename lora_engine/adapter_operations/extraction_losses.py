"""What an extracted adapter is worth: losses of base, tuned model and base with adapter.

On the same rows, each the mean of -ln p over the supervised tokens. The tuned model is loaded
after the base with the adapter is let go. Knows nothing of how the adapter was extracted.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_engine.base_models import BaseModel
from lora_engine.compare.generate import BASE_COLUMN, ComparisonModel
from lora_engine.compare.scoring import row_losses
from lora_engine.data import Row, tokenize_rows
from lora_engine.errors import EngineError
from lora_engine.settings import Settings

EXTRACTED = "extracted"
ROWS = 100
LONGEST = 512  # tokens of a row


@dataclass(frozen=True)
class ExtractionLosses:
    """In nats a token, on `rows` rows."""

    base: float
    tuned: float
    extracted: float
    rows: int


def extraction_losses(
    base: BaseModel, tuned: Path, adapter: Path, rows: Sequence[Row], settings: Settings
) -> ExtractionLosses:
    """Measure all three on at most 100 rows, cut to 512 tokens.

    Raises EngineError where one of them cannot be loaded or reads none of the rows.
    """
    if not rows:
        raise EngineError("There are no rows to measure on.", "Give a dataset with rows.")
    beside = ComparisonModel.load(base, {EXTRACTED: adapter}, settings)
    found = _losses(beside, rows)
    del beside
    gc.collect()
    of_tuned = _losses(ComparisonModel.load(BaseModel(tuned.name, tuned), {}, settings), rows)
    return ExtractionLosses(
        found[BASE_COLUMN], of_tuned[BASE_COLUMN], found[EXTRACTED], len(rows[:ROWS])
    )


def _losses(model: ComparisonModel, rows: Sequence[Row]) -> dict[str, float]:
    """By column, the mean over all supervised tokens."""
    length = min(model.shared.context_length or LONGEST, LONGEST)
    found = list(row_losses(model, tokenize_rows(rows[:ROWS], model.shared.tokenizer, length)))
    tokens = sum(row.tokens for row in found)
    return {
        column: math.fsum(row.tokens * row.loss[column] for row in found) / tokens
        for column in model.columns
    }
