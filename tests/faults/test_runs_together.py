"""A worker that several runs share: killed, it resumes each; what ails one ends that one alone."""

from __future__ import annotations

import signal

import pytest
from safetensors.torch import load_file

from lora_engine.run_folder import RunDirectory
from tests.faults.zygote import Zygote

pytestmark = pytest.mark.slow

KILLED = -signal.SIGKILL
LEARNING_RATES = {"slow": 0.001, "middle": 0.003, "fast": 0.01}


MEASURED = {"seq", "tokens_per_s", "elapsed_s", "memory_bytes"}


def curve(directory: RunDirectory) -> dict[int, dict[str, float]]:
    return {
        row.step: row.model_dump(exclude=MEASURED, exclude_none=True) for row in directory.metrics()
    }


def assert_same(broken: RunDirectory, whole: RunDirectory) -> None:
    assert broken.result().state == "finished"
    ours, theirs = curve(broken), curve(whole)
    assert list(ours) == list(theirs)
    for step, row in theirs.items():
        assert ours[step] == pytest.approx(row, rel=1e-4), step
    adapter = load_file(broken.adapter_path / "adapter_model.safetensors")
    for name, tensor in load_file(whole.adapter_path / "adapter_model.safetensors").items():
        assert float((adapter[name] - tensor).abs().max()) < 1e-4, name


def paths(directories: dict[str, RunDirectory]):
    return [directory.path for directory in directories.values()]


@pytest.fixture
def several(make_run, twelve_steps):
    """Three runs in directories of their own, whose names begin with `prefix`."""

    def make(prefix: str, **optimization) -> dict[str, RunDirectory]:
        return {
            name: make_run(f"{prefix}-{name}", twelve_steps(learning_rate=rate, **optimization))
            for name, rate in LEARNING_RATES.items()
        }

    return make


def test_killed_and_resumed_each_is_the_run_it_would_have_been_alone(zygote: Zygote, several):
    alone = several("alone")
    for directory in alone.values():
        assert zygote.run(directory.path) == 0, directory.log_tail()
    for step in (1, 5, 8, 12):
        broken = several(f"killed-{step}")
        first = next(iter(broken.values()))
        assert zygote.run(*paths(broken), kill_after_step=step) == KILLED, first.log_tail()
        assert all(directory.result() is None for directory in broken.values())
        assert zygote.run(*paths(broken), resume=True) == 0, first.log_tail()
        for name, directory in broken.items():
            assert_same(directory, alone[name])


def test_each_goes_on_alone_from_where_the_shared_worker_was_killed(zygote: Zygote, several):
    alone, broken = several("alone"), several("broken")
    assert zygote.run(*paths(broken), kill_after_step=7) == KILLED
    directory = broken["middle"]
    assert zygote.run(directory.path, resume=True) == 0, directory.log_tail()
    assert zygote.run(alone["middle"].path) == 0
    assert_same(directory, alone["middle"])


def test_a_loss_that_is_no_number_ends_that_run_alone(zygote: Zygote, several):
    runs, alone = several("nan"), several("alone")
    status = zygote.run(*paths(runs), spoil_loss_of=["nan-middle", 4])
    assert status == 2, runs["slow"].log_tail()
    result = runs["middle"].result()
    assert (result.state, result.steps, result.saved_step) == ("failed", 3, 3)
    assert "stopped being a number at step 4" in runs["middle"].log_tail()
    assert "stopped being a number" not in runs["fast"].log_tail()
    for name in ("slow", "fast"):
        assert zygote.run(alone[name].path) == 0
        assert_same(runs[name], alone[name])


def test_a_full_disk_ends_the_run_that_met_it_and_it_can_be_resumed(zygote: Zygote, several):
    runs, alone = several("full"), several("alone")
    assert zygote.run(*paths(runs), fail_sync="full-fast/checkpoints/.step-10.staging") == 2
    assert "disk is full" in runs["fast"].result().error.problem
    assert {runs[name].result().state for name in ("slow", "middle")} == {"finished"}
    assert zygote.run(runs["fast"].path, resume=True) == 0, runs["fast"].log_tail()
    assert zygote.run(alone["fast"].path) == 0
    assert_same(runs["fast"], alone["fast"])
