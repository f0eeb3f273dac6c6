"""What a run writes beside its metrics at every evaluation, and as step 0 before the first:
sample answers, and how far ΔW got.

    samples.jsonl  updates.jsonl

One JSON document a line, appended; a torn last line is skipped, and of two rows of one step (a
resumed run writes the steps after its checkpoint again) the later one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from lora_engine.files import read_rows
from lora_engine.run_folder.directory import RunDirectory

SAMPLES, UPDATES = "samples.jsonl", "updates.jsonl"
MAX_FILE_BYTES = 64_000_000  # what a reader takes of a file, from its beginning

Row = TypeVar("Row", bound=BaseModel)


class SampleRow(BaseModel):
    """An answer after `step`: greedy, special tokens left out. finished: it ended by itself."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    step: int
    prompt: str
    text: str
    finished: bool


class ModuleUpdateRow(BaseModel):
    """‖ΔW‖_F of a module, and exp(entropy of σ/Σσ) of its singular values."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    frobenius_norm: float
    effective_rank: float


class UpdateRow(BaseModel):
    """Every adapted module after `step`, in the model's order."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    step: int
    modules: tuple[ModuleUpdateRow, ...]


def read_samples(directory: RunDirectory) -> list[SampleRow]:
    """Every sample answer, in the order of steps."""
    rows = read_rows(directory.path / SAMPLES, SampleRow, MAX_FILE_BYTES)
    return _latest(rows, lambda row: (row.step, row.prompt))


def read_updates(directory: RunDirectory) -> list[UpdateRow]:
    """Every evaluation's updates, in the order of steps; empty for runs without an adapter."""
    rows = read_rows(directory.path / UPDATES, UpdateRow, MAX_FILE_BYTES)
    return _latest(rows, lambda row: row.step)


def _latest(rows: Iterator[Row], key: Callable[[Row], object]) -> list[Row]:
    by_key = {key(row): row for row in rows}
    return sorted(by_key.values(), key=lambda row: row.step)
