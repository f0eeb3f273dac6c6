"""Checkpoint folders, each complete or not there at all.

A checkpoint is a folder `step-N` of safetensors and JSON files. It is written under a temporary
name: every file is hashed, `manifest.json` with the hashes comes last, everything is synced, and
only then is the folder renamed. A folder without a manifest, or with a file that does not match
it, is not a checkpoint. No pickles are written or read. Knows nothing of the training loop.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from lora_engine.files import atomic_folder, write_atomically
from lora_engine.training.checkpointing.identity import RunIdentity

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
STEP_FOLDER = re.compile(r"^step-(\d{1,9})$")
TRAINED = "trained.safetensors"
OPTIMIZER = "optimizer.safetensors"
PROGRESS = "progress.json"


class SavedProgress(BaseModel):
    """`progress.json`: the loop's `TrainingProgress` at the time of the checkpoint."""

    model_config = ConfigDict(frozen=True)

    step: int
    tokens: int
    elapsed_s: float
    loss_sum: float
    best_eval_loss: float | None
    evaluations_since_best: int
    best_step: int | None = None
    last_eval_loss: float | None = None
    last_eval_accuracy: float | None = None
    last_eval_f1: float | None = None
    last_eval_reward_accuracy: float | None = None
    last_eval_reward_margin: float | None = None
    start_eval_loss: float | None = None


class Manifest(BaseModel):
    """`manifest.json`: what the checkpoint belongs to, and the hashes that prove it complete."""

    model_config = ConfigDict(frozen=True)

    identity: RunIdentity
    files: dict[str, str]  # name to sha256


@dataclass(frozen=True)
class Checkpoint:
    """A valid checkpoint as read from disk."""

    path: Path
    identity: RunIdentity
    progress: SavedProgress
    trained: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]


def save_checkpoint(
    folder: Path,
    identity: RunIdentity,
    progress: SavedProgress,
    trained: Mapping[str, torch.Tensor],
    optimizer: Mapping[str, torch.Tensor],
    keep: int = 2,
) -> Path:
    """Write `folder/step-N`, then delete all but the newest `keep` checkpoints and the best.

    A valid checkpoint of the same step and identity is left alone: replacing it would leave none
    for a moment. Raises OSError or SafetensorError where the disk refuses; the older checkpoints
    are then untouched.
    """
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    final = folder / f"step-{progress.step}"
    existing = _read(final)
    if existing is not None and existing.identity == identity:
        return final
    with atomic_folder(final) as staging:
        save_file(dict(trained), staging / TRAINED)
        save_file(dict(optimizer), staging / OPTIMIZER)
        write_atomically(staging / PROGRESS, progress.model_dump_json().encode())
        files = {name: _sha256(staging / name) for name in (TRAINED, OPTIMIZER, PROGRESS)}
        manifest = Manifest(identity=identity, files=files)
        write_atomically(staging / "manifest.json", manifest.model_dump_json(indent=1).encode())
    for step, old in _by_step(folder)[:-keep]:
        if step != progress.best_step:
            shutil.rmtree(old, ignore_errors=True)
    return final


def newest_valid_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint of the highest step whose every file matches its manifest."""
    for _, path in reversed(_by_step(folder)):
        checkpoint = _read(path)
        if checkpoint is not None:
            return checkpoint
        log.warning("%s is incomplete or damaged; trying an older checkpoint", path.name)
    return None


def checkpoint_of_step(folder: Path, step: int) -> Checkpoint | None:
    """The checkpoint of one step, None where it is missing or damaged."""
    return _read(folder / f"step-{step}")


def identity_of_step(folder: Path, step: int) -> RunIdentity | None:
    """What the checkpoint of one step belongs to, None where it is missing or damaged.

    Its files are hashed and not loaded.
    """
    manifest = _valid_manifest(folder / f"step-{step}")
    return None if manifest is None else manifest.identity


def _by_step(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    named = [(STEP_FOLDER.match(path.name), path) for path in folder.iterdir()]
    return sorted((int(match[1]), path) for match, path in named if match)


def _read(path: Path) -> Checkpoint | None:
    from safetensors.torch import load_file

    manifest = _valid_manifest(path)
    if manifest is None:
        return None
    try:
        progress = SavedProgress.model_validate_json((path / PROGRESS).read_bytes())
    except (OSError, ValidationError):
        return None
    return Checkpoint(
        path, manifest.identity, progress, load_file(path / TRAINED), load_file(path / OPTIMIZER)
    )


def _valid_manifest(path: Path) -> Manifest | None:
    """The manifest of a checkpoint whose every file matches it."""
    try:
        manifest = Manifest.model_validate_json((path / "manifest.json").read_bytes())
        if set(manifest.files) != {TRAINED, OPTIMIZER, PROGRESS}:
            return None
        if any(_sha256(path / name) != digest for name, digest in manifest.files.items()):
            return None
    except (OSError, ValidationError):
        return None
    return manifest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
