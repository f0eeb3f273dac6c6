"""What a run writes beside its metrics at every evaluation, and as step 0 before the first:
sample answers, and how far ΔW got.

    samples.jsonl  updates.jsonl

One JSON document a line, appended; a torn last line is skipped, and of two rows of one step (a
resumed run writes the steps after its checkpoint again) the later one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

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
    rows = _read(directory.path / SAMPLES, SampleRow)
    return _latest(rows, lambda row: (row.step, row.prompt))


def read_updates(directory: RunDirectory) -> list[UpdateRow]:
    """Every evaluation's updates, in the order of steps; empty for runs without an adapter."""
    return _latest(_read(directory.path / UPDATES, UpdateRow), lambda row: row.step)


def append(path: Path, rows: Sequence[BaseModel]) -> None:
    """Add whole lines to a file, after a line that a kill tore."""
    content = b"".join(row.model_dump_json().encode() + b"\n" for row in rows)
    with path.open("ab+", buffering=0) as file:
        if file.seek(0, 2) > 0:
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                content = b"\n" + content
        file.write(content)


def _latest(rows: Iterator[Row], key: Callable[[Row], object]) -> list[Row]:
    by_key = {key(row): row for row in rows}
    return sorted(by_key.values(), key=lambda row: row.step)


def _read(path: Path, kind: type[Row]) -> Iterator[Row]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES)
    except FileNotFoundError:
        return
    for line in content.split(b"\n")[:-1]:
        try:
            yield kind.model_validate_json(line)
        except ValidationError:
            continue  # torn by a kill
