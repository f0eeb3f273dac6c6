"""Checkpoints are whole or not there, whichever byte is wrong and whichever write fails."""

import os
from pathlib import Path

import pytest
import torch

from lora_engine.training.checkpointing import checkpoints
from lora_engine.training.checkpointing.checkpoints import (
    SavedProgress,
    newest_valid_checkpoint,
    save_checkpoint,
)
from lora_engine.training.checkpointing.identity import RunIdentity

IDENTITY = RunIdentity(spec_hash="s", data_hash="d", base_fingerprint="b")


def save(folder, step, keep=2):
    progress = SavedProgress(
        step=step,
        tokens=step * 10,
        elapsed_s=1.0,
        loss_sum=2.0,
        best_eval_loss=None,
        evaluations_since_best=0,
    )
    trained = {"w": torch.full((3, 4), float(step))}
    optimizer = {"0.exp_avg": torch.ones(3), "rng": torch.get_rng_state()}
    return save_checkpoint(folder, IDENTITY, progress, trained, optimizer, keep)


def test_what_was_saved_is_read_back(tmp_path):
    save(tmp_path, 5)
    found = newest_valid_checkpoint(tmp_path)
    assert found.progress.step == 5
    assert found.identity == IDENTITY
    assert torch.equal(found.trained["w"], torch.full((3, 4), 5.0))
    assert torch.equal(found.optimizer["rng"], torch.get_rng_state())


def test_the_last_two_are_kept_and_the_newest_is_by_number_not_by_name(tmp_path):
    for step in (8, 9, 10):
        save(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-10", "step-9"]
    assert newest_valid_checkpoint(tmp_path).progress.step == 10


@pytest.mark.parametrize("name", ["trained.safetensors", "optimizer.safetensors", "progress.json"])
def test_a_flipped_bit_is_noticed_and_the_older_one_used(tmp_path, name):
    save(tmp_path, 1)
    path = save(tmp_path, 2) / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert newest_valid_checkpoint(tmp_path).progress.step == 1


@pytest.mark.parametrize("lost", ["manifest.json", "trained.safetensors"])
def test_a_folder_that_lacks_a_file_is_no_checkpoint(tmp_path, lost):
    (save(tmp_path, 1) / lost).unlink()
    assert newest_valid_checkpoint(tmp_path) is None


def test_no_folder_no_checkpoint(tmp_path):
    assert newest_valid_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.parametrize("failing", range(1, 9))
def test_a_save_that_fails_anywhere_leaves_the_older_checkpoint(tmp_path, monkeypatch, failing):
    """The n-th fsync or rename of the save fails as on a full disk."""
    save(tmp_path, 1)
    calls = 0
    real = {"fsync": os.fsync, "replace": os.replace}

    def failing_call(name):
        def call(*args):
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(28, "No space left on device")
            return real[name](*args)

        return call

    for name in real:
        monkeypatch.setattr(os, name, failing_call(name))
    try:
        save(tmp_path, 2)
        failed = False
    except OSError:
        failed = True
    monkeypatch.undo()
    assert newest_valid_checkpoint(tmp_path).progress.step in ((1, 2) if failed else (2,))
    assert not list(Path(tmp_path).glob(".*"))


def test_a_manifest_is_the_last_thing_written(tmp_path, monkeypatch):
    order = []
    real = checkpoints.write_atomically
    monkeypatch.setattr(
        checkpoints,
        "write_atomically",
        lambda path, content: (order.append(path.name), real(path, content)),
    )
    save(tmp_path, 1)
    assert order[-1] == "manifest.json"
