"""Two processes train one run as one process does, and go on where one of them or all were killed.

The processes are real, talk through gloo, and die by SIGKILL at a known step.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from lora_engine.run_folder import RunDirectory
from lora_engine.spec import RunSpec
from lora_engine.training.ranks.processes import FOLDER
from tests.faults.zygote import Zygote
from tests.preference_files import judged_rows, pair_rows, write_rows
from tests.training_runs import tiny_spec

pytestmark = pytest.mark.slow
KILLED = -signal.SIGKILL
TWO = {"fork_ranks": []}


@pytest.fixture
def steps(twelve_steps):
    """Twelve steps of two batches of five rows, so that no batch and no step divides evenly."""

    def make(dropout: float = 0.0, **optimization) -> RunSpec:
        spec = twelve_steps(batch_size=5, **optimization)
        return spec.model_copy(
            update={"method": spec.method.model_copy(update={"dropout": dropout})}
        )

    return make


def curve(directory: RunDirectory) -> dict[int, tuple]:
    return {
        row.step: (row.loss, row.grad_norm, row.tokens, row.eval_loss or 0.0, row.epoch)
        for row in directory.metrics()
    }


def assert_close(ours: RunDirectory, theirs: RunDirectory) -> None:
    wanted = curve(theirs)
    found = curve(ours)
    assert found.keys() == wanted.keys()
    for step, row in wanted.items():
        assert found[step] == pytest.approx(row, rel=1e-4), step


def set_devices(directory: RunDirectory, devices: int) -> None:
    spec = directory.spec()
    more = spec.optimization.model_copy(update={"devices": devices})
    directory.create(spec.model_copy(update={"optimization": more}))


def adapter(directory: RunDirectory) -> bytes:
    return (directory.adapter_path / "adapter_model.safetensors").read_bytes()


def assert_nothing_left(directory: RunDirectory) -> None:
    """The last of the processes takes their folder away."""
    until = time.monotonic() + 60
    while (directory.path / FOLDER).exists():
        assert time.monotonic() < until, "a process of the run goes on"
        time.sleep(0.05)


def test_two_processes_give_the_curve_of_one_and_go_on_from_one_another(
    zygote: Zygote, make_run, steps
):
    one, two = make_run("one", steps()), make_run("two", steps(devices=2))
    assert zygote.run(one.path) == 0, one.log_tail()
    assert zygote.run(two.path, **TWO) == 0, two.log_tail()
    assert "rank 1 of 2 is connected" in two.log_tail()
    assert_close(two, one)
    assert_nothing_left(two)

    fewer = make_run("from two to one", steps(devices=2))
    assert zygote.run(fewer.path, kill_after_step=7, **TWO) == KILLED
    assert fewer.result() is None
    assert_nothing_left(fewer)
    set_devices(fewer, 1)
    assert zygote.run(fewer.path, resume=True) == 0, fewer.log_tail()
    assert "resumed after step 5" in fewer.log_tail()
    assert_close(fewer, one)

    more = make_run("from one to two", steps())
    assert zygote.run(more.path, kill_after_step=7) == KILLED
    set_devices(more, 2)
    assert zygote.run(more.path, resume=True, **TWO) == 0, more.log_tail()
    assert_close(more, one)

    divided = make_run("fsdp", steps(devices=2, sharding="fsdp"))
    assert zygote.run(divided.path, **TWO) == 0, divided.log_tail()
    assert_close(divided, one)


def test_where_one_process_is_killed_the_run_says_which_and_goes_on_exactly(
    zygote: Zygote, make_run, steps
):
    spec = steps(dropout=0.1, devices=2)
    whole, broken = make_run("whole", spec), make_run("broken", spec)
    assert zygote.run(whole.path, **TWO) == 0, whole.log_tail()
    assert zygote.run(broken.path, fork_ranks=[1, 7]) == 2, broken.log_tail()
    result = broken.result()
    assert result.state == "failed"
    assert "Rank 1 of the run's 2 processes" in result.error.problem
    assert "SIGKILL" in result.error.problem
    assert_nothing_left(broken)

    assert zygote.run(broken.path, resume=True, **TWO) == 0, broken.log_tail()
    assert curve(broken) == curve(whole)
    assert adapter(broken) == adapter(whole)


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_preferences_learn_the_same_on_two(
    zygote: Zygote, make_run, tiny_llama: Path, tmp_path: Path, kind: str
):
    rows = judged_rows(21) if kind == "kto" else pair_rows(21)
    path = write_rows(tmp_path / "rows.jsonl", rows)
    runs = []
    for devices in (1, 2):
        optimization = {
            "max_steps": 5, "batch_size": 3, "gradient_accumulation": 2, "eval_every": 2,
            "devices": devices,
        }  # fmt: skip
        spec = tiny_spec(tiny_llama, path, objective={"kind": kind}, optimization=optimization)
        run = make_run(f"{kind}-{devices}", spec)
        assert zygote.run(run.path, **TWO) == 0, run.log_tail()
        runs.append(run)
    assert_close(runs[1], runs[0])
    figures = [
        [
            [f or 0.0 for f in (row.reward_chosen, row.reward_rejected, row.kl, row.eval_kl)]
            for row in run.metrics()
        ]
        for run in runs
    ]
    for ours, theirs in zip(*figures, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-6)
