"""What an extracted adapter is worth: losses of base, tuned model and base with adapter.

On the same tokens, each the mean of -ln p over the supervised ones. Rows are written with the
tuned model's tokenizer and template where it has its own, since the adapter is to answer as it
does. The tuned model is loaded after the base with the adapter is let go. Knows nothing of how the
adapter was extracted.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.base_models import BaseModel, load_tokenizer
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.compare.generate import BASE_COLUMN, ComparisonModel
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.compare.scoring import row_losses
from lora_engine.data import Row, TokenizedRow, tokenize_rows
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spectrum import ReportProgress, WorkMonitor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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
    base: BaseModel,
    tuned: Path,
    adapter: Path,
    rows: Sequence[Row],
    settings: Settings,
    *,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> ExtractionLosses:
    """Measure all three on at most 100 rows, cut to 512 tokens.

    Raises EngineError where one of them cannot be loaded or reads none of the rows; Stopped.
    """
    monitor = WorkMonitor(progress, stop)
    if not rows:
        raise EngineError(tr("There are no rows to measure on."), tr("Give a dataset with rows."))
    if not tuned.is_dir():
        raise EngineError(
            tr(
                "{tuned} is no model folder, so the tuned model cannot be loaded to be measured.",
                tuned=tuned,
            ),
            tr("Give the folder that holds its config.json."),
        )
    monitor.step(0.0, tr("loading the base"))
    tokenizer = load_tokenizer(BaseModel(tuned.name, tuned) if _has_tokenizer(tuned) else base)
    beside = ComparisonModel.load(base, {EXTRACTED: adapter}, settings)
    length = min(beside.shared.context_length or LONGEST, LONGEST)
    tokenized = tokenize_rows(rows[:ROWS], tokenizer, length)
    ours = _losses(beside, tokenized, monitor.part(0.1, 0.6), tr("the base with the adapter"))
    del beside
    gc.collect()
    monitor.step(0.6, tr("loading the tuned model"))
    theirs = _tuned_loss(tuned, tokenizer, tokenized, settings, monitor.part(0.7, 1.0))
    return ExtractionLosses(ours[BASE_COLUMN], theirs, ours[EXTRACTED], len(tokenized))


def not_measured(error: EngineError) -> str:
    """The note that stands in the place of losses which could not be measured."""
    return tr(
        "The losses were not measured: {problem} {remedy}",
        problem=error.problem,
        remedy=error.remedy,
    )


def _has_tokenizer(folder: Path) -> bool:
    return any(folder.glob("tokenizer*"))


def _tuned_loss(
    tuned: Path,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[TokenizedRow],
    settings: Settings,
    monitor: WorkMonitor,
) -> float:
    shared = SharedBase.load(BaseModel(tuned.name, tuned), settings, tokenizer=tokenizer)
    return _losses(ComparisonModel(shared, {}), rows, monitor, tr("the tuned model"))[BASE_COLUMN]


def _losses(
    model: ComparisonModel, rows: Sequence[TokenizedRow], monitor: WorkMonitor, who: str
) -> dict[str, float]:
    """By column, the mean over all supervised tokens."""
    found = []
    for number, loss in enumerate(row_losses(model, rows, monitor.stop), 1):
        found.append(loss)
        doing = tr(
            "asking {who}: row {number} of {count}",
            who=who,
            number=f"{number:,}",
            count=f"{len(rows):,}",
        )
        monitor.step(number / len(rows), doing)
    monitor.stop.raise_if_set(tr("asking {who}", who=who))
    tokens = sum(row.tokens for row in found)
    return {
        column: math.fsum(row.tokens * row.loss[column] for row in found) / tokens
        for column in model.columns
    }
