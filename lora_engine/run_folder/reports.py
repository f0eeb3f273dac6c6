"""Reports of a run at every evaluation: sample answers, and the size of each module's ΔW.

    samples.jsonl  updates.jsonl

Step 0 stands for the state before the first step. Of two rows of one step (a resumed run writes
the steps after its checkpoint again) the later one counts.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from lora_engine.files import read_rows
from lora_engine.run_folder.directory import RunDirectory

SAMPLES, UPDATES = "samples.jsonl", "updates.jsonl"
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
