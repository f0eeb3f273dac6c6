"""Losses of adapters beside each other: on each one's own held-out rows, and on general ones.

What an operation did is seen here, and not in its error alone: the held-out loss before and after
says what was lost of what was learned, the loss on general questions what else changed. Every
number is `compare.scoring.held_out_loss`'s. Knows nothing of how an adapter came to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.compare.generate import BASE_COLUMN, ComparisonModel
from lora_engine.compare.prompts import load_held_out_rows, training_spec_of
from lora_engine.compare.scoring import (
    PairedDifference,
    RowLoss,
    general_rows_for,
    paired_difference,
    row_losses,
)
from lora_engine.data import Row, TokenizedRow, tokenize_rows
from lora_engine.data.trained_template import tokenizer_as_trained
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spectrum import ReportProgress, WorkMonitor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS = 100
LONGEST = 2048  # tokens of a general row


@dataclass(frozen=True)
class RowsMeasured:
    """Losses on one set of rows. rows_of: the adapter whose held-out rows they are, or None for
    the general questions. pairs: each column's loss beside the base's, in nats a token.
    by_row: what they are made of."""

    rows_of: str | None
    pairs: tuple[PairedDifference, ...]
    by_row: tuple[RowLoss, ...]

    def against(self, column: str, before: str) -> PairedDifference:
        """A column's loss beside that of another, `before`, which takes the base's place."""
        return paired_difference(self.by_row, column, base_column=before)


@dataclass(frozen=True)
class LossesBeside:
    """What was measured, and why the rest was not."""

    measured: tuple[RowsMeasured, ...]
    notes: tuple[str, ...]


def losses_beside(
    model: ComparisonModel,
    rows_of: Mapping[str, Path],
    settings: Settings,
    *,
    rows: int = ROWS,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> LossesBeside:
    """The loss of every column of `model` on the held-out rows of each adapter in `rows_of`, and
    on the general questions.

    rows_of: adapters by what the caller calls them. rows: at most so many of each set. Rows that
    are not there (an adapter of unknown data, a base without general questions) leave a note.
    Raises Stopped.
    """
    monitor, notes = WorkMonitor(progress, stop), []
    bare = model.shared.tokenizer
    sets: list[tuple[str | None, Sequence[Row], int, PreTrainedTokenizerBase]] = []
    for name, folder in rows_of.items():
        try:
            length = training_spec_of(folder).optimization.max_length
            held_out = load_held_out_rows(folder, settings)[:rows]
            sets.append((name, held_out, length, tokenizer_as_trained(bare, folder)))
        except EngineError as error:
            notes.append(tr("{name}: {problem}", name=name, problem=error.problem))
    try:
        general = general_rows_for(model.shared.base, None, settings)[:rows]
        sets.append((None, general, _longest(model), bare))
    except EngineError as error:
        notes.append(error.problem)
    measured = []
    for number, (rows_of_name, chosen, length, tokenizer) in enumerate(sets):
        part = monitor.part(number / len(sets), (number + 1) / len(sets))
        losses = _row_losses(model, tokenize_rows(chosen, tokenizer, length), part)
        columns = [column for column in model.columns if column != BASE_COLUMN]
        pairs = tuple(paired_difference(losses, column) for column in columns)
        measured.append(RowsMeasured(rows_of_name, pairs, losses))
    return LossesBeside(tuple(measured), tuple(notes))


def _longest(model: ComparisonModel) -> int:
    return min(model.shared.context_length or LONGEST, LONGEST)


def _row_losses(
    model: ComparisonModel, tokenized: Sequence[TokenizedRow], monitor: WorkMonitor
) -> tuple[RowLoss, ...]:
    found = []
    for number, loss in enumerate(row_losses(model, tokenized, monitor.stop), 1):
        found.append(loss)
        doing = tr(
            "loss of row {number} of {count}",
            number=f"{number:,}",
            count=f"{len(tokenized):,}",
        )
        monitor.step(number / len(tokenized), doing)
    monitor.step(1.0, tr("losses"))
    return tuple(found)
