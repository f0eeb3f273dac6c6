"""Killed with SIGKILL at any step or any write, a run resumes as if it had never been."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from lora_engine.run_folder import RunDirectory
from lora_engine.training.checkpointing.checkpoints import newest_valid_checkpoint
from tests.faults.zygote import Zygote

KILLED = -signal.SIGKILL
STEPS = range(1, 13)


def curve(directory: RunDirectory) -> dict[int, tuple]:
    return {
        row.step: (row.loss, row.learning_rate, row.grad_norm, row.tokens, row.eval_loss)
        for row in directory.metrics()
    }


def adapter(directory: RunDirectory) -> bytes:
    return (directory.adapter_path / "adapter_model.safetensors").read_bytes()


def assert_same(broken: RunDirectory, whole: RunDirectory) -> None:
    assert curve(broken) == curve(whole)
    assert adapter(broken) == adapter(whole)
    ours, theirs = broken.result(), whole.result()
    assert (ours.state, ours.steps) == ("finished", 12)
    assert (ours.train_loss, ours.eval_loss, ours.tokens) == (
        theirs.train_loss, theirs.eval_loss, theirs.tokens,
    )  # fmt: skip


@pytest.mark.slow
def test_killed_at_every_step_and_resumed_is_the_uninterrupted_run(
    zygote: Zygote, make_run, twelve_steps
):
    whole = make_run("whole", twelve_steps())
    assert zygote.run(whole.path) == 0, whole.log_tail()
    assert list(curve(whole)) == list(STEPS)
    for step in STEPS:
        broken = make_run(f"killed-{step}", twelve_steps())
        assert zygote.run(broken.path, kill_after_step=step) == KILLED, broken.log_tail()
        assert broken.result() is None
        assert max(curve(broken)) == step
        found = newest_valid_checkpoint(broken.checkpoints_path)
        assert (found.progress.step if found else 0) == (step - 1) // 5 * 5
        assert zygote.run(broken.path, resume=True) == 0, broken.log_tail()
        assert_same(broken, whole)


def test_killed_again_and_again_it_still_ends_the_same(zygote: Zygote, make_run, twelve_steps):
    spec = twelve_steps(save_every=2)
    whole, broken = make_run("whole", spec), make_run("broken", spec)
    assert zygote.run(whole.path) == 0, whole.log_tail()
    for step in (3, 4, 8, 8, 12):
        assert zygote.run(broken.path, resume=True, kill_after_step=step) == KILLED
    assert zygote.run(broken.path, resume=True) == 0, broken.log_tail()
    assert_same(broken, whole)


@pytest.mark.parametrize("changed", ["spec", "dataset", "base model"])
def test_what_changed_since_the_checkpoint_is_named_and_nothing_is_lost(
    zygote: Zygote, make_run, twelve_steps, rows_file: Path, tmp_path: Path, changed: str
):
    base = tmp_path / "base"
    shutil.copytree(twelve_steps().base_model, base)
    spec = twelve_steps().model_copy(update={"base_model": str(base)})
    broken = make_run("broken", spec)
    assert zygote.run(broken.path, kill_after_step=7) == KILLED
    path = {
        "spec": broken.spec_path, "dataset": rows_file, "base model": base / "model.safetensors",
    }[changed]  # fmt: skip
    before = path.read_bytes()
    if changed == "spec":
        path.write_bytes(before.replace(b'"learning_rate": 0.01', b'"learning_rate": 0.02'))
    elif changed == "dataset":
        path.write_bytes(before.replace(b"Grass.", b"Stone."))
    else:
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert path.read_bytes() != before

    assert zygote.run(broken.path, resume=True) == 2
    problem = broken.result().error.problem
    assert "changed since the checkpoint at step 5" in problem
    words = (
        "The spec's optimization.learning_rate (0.01 then, 0.02 now) "
        if changed == "spec"
        else (f"The {changed} ")
    )
    assert problem.startswith(words)
    assert newest_valid_checkpoint(broken.checkpoints_path).progress.step == 5

    path.write_bytes(before)
    assert zygote.run(broken.path, resume=True) == 0, broken.log_tail()
    assert broken.result().state == "finished"


def test_a_run_of_before_fields_were_added_goes_on(zygote: Zygote, make_run, twelve_steps):
    """Its spec lacks what is at its default, its manifest the spec's fields."""
    whole, old = make_run("whole", twelve_steps()), make_run("old", twelve_steps())
    assert zygote.run(whole.path) == 0, whole.log_tail()
    assert zygote.run(old.path, kill_after_step=7) == KILLED
    spec = json.loads(old.spec_path.read_text())
    for field in ("row_order", "max_tokens_per_batch", "save_best"):
        del spec["optimization"][field]
    for field in ("task", "report", "quantization"):
        del spec[field]
    old.spec_path.write_text(json.dumps(spec))
    manifest_path = old.checkpoints_path / "step-5" / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    assert manifest["identity"].pop("spec_fields")["method.rank"] == "4"
    manifest_path.write_text(json.dumps(manifest))
    assert zygote.run(old.path, resume=True) == 0, old.log_tail()
    assert "resumed after step 5" in old.log_tail()
    assert_same(old, whole)
