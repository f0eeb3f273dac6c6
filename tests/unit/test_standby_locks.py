"""What the launch from the standby leaves behind where it fails."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lora_engine.run_folder import RunDirectory, try_lock
from lora_engine.runs.launcher import HeldRun
from lora_engine.runs.standby import launch_from
from tests.training_runs import tiny_spec


def raises_disk_full(directory):
    raise OSError("the disk is full")


def test_a_run_that_cannot_be_made_ready_gives_its_lock_back(
    tmp_path, settings, tiny_llama, rows_file, monkeypatch
):
    directory = RunDirectory(tmp_path / "run")
    directory.create(tiny_spec(tiny_llama, rows_file))
    held = HeldRun(directory, try_lock(directory))
    waiting = SimpleNamespace(is_ready=True)
    monkeypatch.setattr(RunDirectory, "clear_result", raises_disk_full)
    with pytest.raises(OSError, match="full"):
        launch_from(waiting, [held], settings, resume=False, device="cpu")
    again = try_lock(directory)
    assert again is not None
    again.close()
