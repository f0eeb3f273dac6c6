"""Full disks, flipped bits, losses that are no number, memory that is refused: said, and resumable.

The faults are real where the kernel can make them: a limit on file sizes, /dev/full, a limit on
memory. The runs are forks of one process, see zygote.py.
"""

from __future__ import annotations

import pytest
from safetensors.torch import load_file

from lora_engine.run_folder import RunDirectory
from lora_engine.training.checkpointing.checkpoints import newest_valid_checkpoint
from tests.faults.test_runs_killed import KILLED, adapter, assert_same, curve
from tests.faults.zygote import FULL_DEVICE, Zygote
from tests.tiny import save_tiny_model

pytestmark = pytest.mark.slow


def saved_steps(directory: RunDirectory) -> list[str]:
    return sorted(path.name for path in directory.checkpoints_path.iterdir())


def assert_disk_full(directory: RunDirectory) -> None:
    result = directory.result()
    assert result.state == "failed"
    assert not result.error.is_bug
    assert "disk is full" in result.error.problem
    assert "resume" in result.error.remedy


@pytest.mark.parametrize("name", ["trained.safetensors", "optimizer.safetensors", "progress.json"])
def test_a_flipped_bit_costs_one_checkpoint_and_nothing_else(
    zygote: Zygote, make_run, twelve_steps, name: str
):
    whole, broken = make_run("whole", twelve_steps()), make_run("broken", twelve_steps())
    assert zygote.run(whole.path) == 0, whole.log_tail()
    assert zygote.run(broken.path, kill_after_step=11) == KILLED
    path = broken.checkpoints_path / "step-10" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert zygote.run(broken.path, resume=True) == 0, broken.log_tail()
    assert "step-10" in broken.log_tail()
    assert "resumed after step 5" in broken.log_tail()
    assert_same(broken, whole)


def test_a_disk_that_fills_during_the_second_save(zygote: Zygote, make_run, twelve_steps):
    whole, broken = make_run("whole", twelve_steps()), make_run("broken", twelve_steps())
    assert zygote.run(whole.path) == 0, whole.log_tail()
    assert zygote.run(broken.path, fail_sync=".step-10.staging") == 2
    assert_disk_full(broken)
    assert saved_steps(broken) == ["step-5"]
    assert zygote.run(broken.path, resume=True) == 0, broken.log_tail()
    assert_same(broken, whole)


def test_a_checkpoint_larger_than_the_kernel_allows(zygote: Zygote, make_run, twelve_steps):
    spec = twelve_steps()
    large = spec.model_copy(update={"method": spec.method.model_copy(update={"rank": 32})})
    broken = make_run("broken", large)
    assert zygote.run(broken.path, limit_file_size=100_000) == 2, broken.log_tail()
    assert_disk_full(broken)
    assert saved_steps(broken) == []
    assert zygote.run(broken.path, resume=True) == 0, broken.log_tail()


def test_metrics_on_a_full_disk(zygote: Zygote, make_run, twelve_steps):
    broken = make_run("broken", twelve_steps())
    broken.metrics_path.symlink_to(FULL_DEVICE)
    assert zygote.run(broken.path) == 2
    assert_disk_full(broken)
    broken.metrics_path.unlink()
    assert zygote.run(broken.path, resume=True) == 0, broken.log_tail()
    assert list(curve(broken)) == list(range(1, 13))


def test_a_log_on_a_full_disk_stops_nothing(zygote: Zygote, make_run, twelve_steps):
    broken = make_run("broken", twelve_steps())
    assert zygote.run(broken.path, full_log=True) == 0
    assert broken.result().state == "finished"


@pytest.mark.parametrize(("step", "value"), [(1, "nan"), (7, "nan"), (12, "inf")])
def test_a_loss_that_is_no_number_stops_there_and_the_last_finite_adapter_is_kept(
    zygote: Zygote, make_run, twelve_steps, step: int, value: str
):
    spec = twelve_steps(gradient_accumulation=1, eval_every=100, save_every=1)
    spec = spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"eval_fraction": 0})})
    broken, stopped = make_run("broken", spec), make_run("stopped", spec)
    assert zygote.run(broken.path, spoil_loss=[step, value]) == 2, broken.log_tail()
    result = broken.result()
    assert result.state == "failed"
    assert f"at step {step}" in result.error.problem
    assert (result.steps, len(curve(broken))) == (step - 1, step - 1)
    kept = load_file(broken.adapter_path / "adapter_model.safetensors")
    assert all(tensor.isfinite().all() for tensor in kept.values())
    if step > 1:
        assert newest_valid_checkpoint(broken.checkpoints_path).progress.step == step - 1
        assert zygote.run(stopped.path, kill_after_step=step - 1) == KILLED
        assert list(curve(stopped).values()) == list(curve(broken).values())
    assert zygote.run(broken.path, resume=True) == 0, broken.log_tail()
    assert adapter(broken) != b""


def test_memory_that_the_kernel_refuses_is_called_so(
    zygote: Zygote, make_run, twelve_steps, tmp_path
):
    wide = save_tiny_model(tmp_path / "wide", intermediate_size=65_536)  # 100 MB
    broken = make_run("broken", twelve_steps().model_copy(update={"base_model": str(wide)}))
    assert zygote.run(broken.path, limit_memory=64 << 20) == 2, broken.log_tail()
    error = broken.result().error
    assert "out of memory" in error.problem
    assert not error.is_bug
