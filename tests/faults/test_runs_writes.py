"""A save that dies or fails at any of its writes leaves a checkpoint to go on from."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError

from lora_engine.files import write_atomically
from lora_engine.run_folder import RunDirectory, RunResult
from lora_engine.training.checkpointing.checkpoints import (
    SavedProgress,
    newest_valid_checkpoint,
    save_checkpoint,
)
from lora_engine.training.checkpointing.identity import RunIdentity

IDENTITY = RunIdentity(spec_hash="s", data_hash="d", base_fingerprint="b")
WRITES = 60  # more than a save has; each test says how many it met


def save(folder: Path, step: int) -> None:
    progress = SavedProgress(
        step=step,
        tokens=1,
        elapsed_s=1.0,
        loss_sum=1.0,
        best_eval_loss=None,
        evaluations_since_best=0,
    )
    tensors = {"w": torch.full((3,), float(step))}
    save_checkpoint(folder, IDENTITY, progress, tensors, {"rng": torch.get_rng_state()})


class Disk:
    """Every call by which a save changes the disk, counted; the n-th calls `fault` instead."""

    def __init__(self, nth: int, fault: Callable[[str], None]) -> None:
        self.calls = 0
        self._nth, self._fault = nth, fault

    @contextlib.contextmanager
    def patched(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("mkdir", "fsync", "replace", "rmdir", "unlink"):
                patch.setattr(os, name, self._counted(name, getattr(os, name)))
            patch.setattr(pathlib.Path, "open", self._counted("open", pathlib.Path.open))
            patch.setattr(
                safetensors.torch,
                "save_file",
                self._counted("save_file", safetensors.torch.save_file),
            )
            yield

    def _counted(self, name: str, real: Callable) -> Callable:
        def call(*arguments, **more):
            self.calls += 1
            if self.calls == self._nth:
                self._fault(name)
            return real(*arguments, **more)

        return call


def disk_full(name: str) -> None:
    words = "No space left on device"
    if name == "save_file":
        raise SafetensorError(f"Error while serializing: I/O error: {words} (os error 28)")
    raise OSError(28, words)


def die(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_whichever_write_of_a_save_fails_a_checkpoint_is_left(tmp_path):
    failed = []
    for nth in range(1, WRITES):
        folder = tmp_path / str(nth)
        save(folder, 1)
        save(folder, 2)
        disk = Disk(nth, disk_full)
        try:
            with disk.patched():
                save(folder, 3)
        except (OSError, SafetensorError):
            failed.append(nth)
            assert newest_valid_checkpoint(folder).progress.step in (2, 3)
        save(folder, 4)
        assert newest_valid_checkpoint(folder).progress.step == 4
        assert sorted(path.name for path in folder.iterdir())[-1] == "step-4"
        if disk.calls < nth:
            break
    assert len(failed) >= 10
    assert disk.calls < nth, "the save has more writes than were tried"


def test_killed_at_whichever_write_of_a_save_a_checkpoint_is_left(tmp_path):
    for nth in range(1, WRITES):
        folder = tmp_path / str(nth)
        save(folder, 1)
        save(folder, 2)
        child = os.fork()
        if child == 0:
            with Disk(nth, die).patched():
                save(folder, 3)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert newest_valid_checkpoint(folder).progress.step in (2, 3)
        save(folder, 4)
        assert newest_valid_checkpoint(folder).progress.step == 4
        if os.waitstatus_to_exitcode(status) == 0:
            break
    assert 10 < nth < WRITES - 1


def test_a_step_saved_again_never_loses_the_first(tmp_path):
    """A stop right after a regular save saves the same step; a kill in it must cost nothing."""
    for nth in range(1, WRITES):
        folder = tmp_path / str(nth)
        save(folder, 5)
        child = os.fork()
        if child == 0:
            with Disk(nth, die).patched():
                save(folder, 5)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert newest_valid_checkpoint(folder).progress.step == 5
        if os.waitstatus_to_exitcode(status) == 0:
            break


def result(state: str) -> RunResult:
    return RunResult(
        state=state,
        steps=1,
        train_loss=None,
        eval_loss=None,
        tokens=0,
        tokens_per_s=0.0,
        peak_memory_bytes=0,
        elapsed_s=0.0,
    )


def test_a_full_disk_has_room_for_the_last_word(tmp_path, monkeypatch):
    """What the reserve takes is all that is left: nothing can be written while it is there."""
    directory = RunDirectory(tmp_path)
    directory.keep_reserve()
    fsync = os.fsync

    def full(descriptor):
        if directory.reserve_path.exists():
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    directory.write_result(result("failed"))
    assert directory.result().state == "failed"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: disk_full("fsync"))
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
