"""Reports of a run at every evaluation: sample answers, each module's ΔW, each class's scores.

    samples.jsonl  updates.jsonl  classes.jsonl

Step 0 stands for the state before the first step. Of two rows of one step (a resumed run writes
the steps after its checkpoint again) the later one counts.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from lora_engine.files import read_rows
from lora_engine.run_folder.directory import RunDirectory

SAMPLES, UPDATES, CLASSES = "samples.jsonl", "updates.jsonl", "classes.jsonl"
ScoredUnit = Literal["entities", "words", "texts"]
MAX_FILE_BYTES = 64_000_000  # what a reader takes of a file, from its beginning


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


class ClassScore(BaseModel):
    """Precision, recall and F1 of one class, or of one type of entity; support: how many are true.

    A share of nothing is 0.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    precision: float
    recall: float
    f1: float
    support: int


class ClassesRow(BaseModel):
    """A classifier's scores on the held-out rows after `step`, and those of each class.

    unit: what precision, recall and F1 count. Of entities they are those of all together (micro),
    of words and texts the mean over the classes (macro). accuracy: of words, or of texts.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    step: int
    unit: ScoredUnit
    accuracy: float
    precision: float
    recall: float
    f1: float
    classes: tuple[ClassScore, ...]


def read_samples(directory: RunDirectory) -> list[SampleRow]:
    """Every sample answer, in the order of steps."""
    rows = read_rows(directory.path / SAMPLES, SampleRow, MAX_FILE_BYTES)
    latest = {(row.step, row.prompt): row for row in rows}
    return sorted(latest.values(), key=lambda row: row.step)


def read_updates(directory: RunDirectory) -> list[UpdateRow]:
    """Every evaluation's updates, in the order of steps; empty for runs without an adapter."""
    rows = read_rows(directory.path / UPDATES, UpdateRow, MAX_FILE_BYTES)
    latest = {row.step: row for row in rows}
    return [latest[step] for step in sorted(latest)]


def read_classes(directory: RunDirectory) -> list[ClassesRow]:
    """Every evaluation's scores by class, in the order of steps; empty but for classifiers."""
    rows = read_rows(directory.path / CLASSES, ClassesRow, MAX_FILE_BYTES)
    latest = {row.step: row for row in rows}
    return [latest[step] for step in sorted(latest)]
