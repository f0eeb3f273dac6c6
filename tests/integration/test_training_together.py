"""Runs in one worker end one by one: finished, failed, stopped, each by its own word."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lora_engine.run_folder import RunDirectory, is_alive, try_lock
from lora_engine.runs.launcher import worker_environment
from lora_engine.training.checkpointing.checkpoints import newest_valid_checkpoint
from tests.training_runs import losses, tiny_spec, train_here, train_together_here

pytestmark = pytest.mark.slow

RANKS = {"r2": 2, "r4": 4, "r8": 8}


@pytest.fixture
def specs(tiny_llama, rows_file):
    def make(method=None, **changes):
        method = method or {}
        return {
            name: tiny_spec(
                tiny_llama, rows_file, **{**changes, "method": {"rank": rank, **method}}
            )
            for name, rank in RANKS.items()
        }

    return make


@pytest.fixture
def alone(specs, settings, tmp_path):
    def train(name):
        return train_here(specs()[name], tmp_path / "alone" / name, settings)[0]

    return train


def test_a_run_that_is_asked_to_stop_stops_alone_and_goes_on_later(
    specs, alone, settings, tmp_path
):
    asked = tmp_path / "together" / "r4"
    rounds = iter(range(100))

    def nobody_stops_all() -> bool:
        if next(rounds) == 3:
            (asked / "stop").touch()
        return False

    made = train_together_here(specs(), tmp_path / "together", settings, False, nobody_stops_all)
    result = made["r4"].result()
    assert (result.state, result.steps, result.stopped_because) == ("cancelled", 3, None)
    assert newest_valid_checkpoint(made["r4"].checkpoints_path).progress.step == 3
    assert not is_alive(made["r4"])
    assert {made[name].result().state for name in ("r2", "r8")} == {"finished"}

    made["r4"].clear_stop_request()
    made["r4"].clear_result()
    again, _ = train_here(specs()["r4"], asked, settings, resume=True)
    assert losses(again) == pytest.approx(losses(alone("r4")), rel=1e-4)


def test_all_stop_with_checkpoints_and_one_far_behind_catches_up(specs, alone, settings, tmp_path):
    """The shared worker is stopped, one run goes on alone to its end, the others together."""
    rounds = iter(range(100))
    folder = tmp_path / "together"
    made = train_together_here(specs(), folder, settings, False, lambda: next(rounds) == 3)
    assert {directory.result().state for directory in made.values()} == {"cancelled"}
    assert {directory.result().steps for directory in made.values()} == {3}
    more = iter(range(100))
    train_here(specs()["r2"], folder / "r2", settings, True, lambda: next(more) == 2)
    seen: list[str] = []
    made = train_together_here(
        specs(), folder, settings, True, lambda: bool(seen.append(str(made_steps(folder))))
    )
    assert seen[1] == "[5, 4, 4]"  # the run ahead waits for the others
    for name, directory in made.items():
        assert losses(directory) == pytest.approx(losses(alone(name)), rel=1e-4)
        assert directory.result().state == "finished"


def made_steps(folder) -> list[int]:
    rows = [RunDirectory(folder / name).last_metrics() for name in RANKS]
    return [row.step if row else 0 for row in rows]


def test_a_run_that_cannot_train_fails_alone(specs, settings, tmp_path, rows_file):
    other = tmp_path / "other.jsonl"
    other.write_bytes(rows_file.read_bytes())
    given = specs()
    given["no such module"] = specs(method={"target_modules": ["nothing"]})["r2"]
    given["other data"] = specs(dataset={"source": str(other)})["r2"]
    given["whole model"] = specs(method={"finetuning_type": "full"})["r2"]
    made = train_together_here(given, tmp_path / "together", settings)
    results = {name: directory.result() for name, directory in made.items()}
    failed = {name for name, result in results.items() if result.state == "failed"}
    assert failed == {"no such module", "other data", "whole model"}
    assert "nothing" in results["no such module"].error.problem
    assert "cannot share a worker" in results["other data"].error.problem
    assert not any(results[name].error.is_bug for name in failed)
    assert {results[name].state for name in RANKS} == {"finished"}


def test_the_worker_inherits_a_lock_for_each_run_and_writes_a_log_for_each(
    specs, settings, tmp_path
):
    directories = [RunDirectory(tmp_path / name) for name in RANKS]
    for directory, spec in zip(directories, specs().values(), strict=True):
        directory.create(spec)
    locks = [try_lock(directory) for directory in directories]
    command = [sys.executable, "-m", "lora_engine.training.worker", *map(path_of, directories)]
    for lock in locks:
        command += ["--lock-fd", str(lock.descriptor)]
    with directories[0].log_path.open("ab") as log:
        ended = subprocess.run(
            command,
            env=worker_environment({"OMP_NUM_THREADS": "1"}, settings, "cpu"),
            stdout=log,
            stderr=log,
            pass_fds=[lock.descriptor for lock in locks],
            timeout=300,
        )
    for lock in locks:
        lock.close()
    assert ended.returncode == 0, directories[0].log_tail()
    for directory in directories:
        assert directory.result().state == "finished"
        assert not is_alive(directory)
        text = directory.log_tail()
        assert "3 runs train together" in text
        assert text.count("finished after step 8") == (3 if directory is directories[0] else 1)


def test_what_is_clearly_worse_stops_with_its_reason_and_can_go_on(specs, settings, tmp_path):
    """A learning rate that learns nothing is planted among three that learn alike."""
    rates = {"a": 0.01, "b": 0.0101, "c": 0.0099, "planted": 1e-7}
    given = {
        name: specs(dataset={"eval_fraction": 0.3}, optimization={"learning_rate": rate})["r4"]
        for name, rate in rates.items()
    }
    made = train_together_here(given, tmp_path / "together", settings, stop_worse=True)
    result = made["planted"].result()
    assert (result.state, result.steps) == ("cancelled", 2)  # a quarter of eight steps
    assert "held-out loss" in result.stopped_because
    assert "12 rows" in result.stopped_because
    assert newest_valid_checkpoint(made["planted"].checkpoints_path).progress.step == 2
    for name in "abc":
        assert made[name].result().state == "finished"
        assert made[name].result().stopped_because is None
    again, progress = train_here(given["planted"], made["planted"].path, settings, resume=True)
    assert progress.step == 8
    assert list(losses(again)) == list(range(1, 9))


def test_equal_runs_and_runs_with_few_rows_held_out_go_on(specs, settings, tmp_path):
    given = {
        f"seed {seed}": specs(seed=seed, dataset={"eval_fraction": 0.3})["r4"] for seed in (1, 1, 2)
    }
    given["the same again"] = given["seed 1"]
    made = train_together_here(given, tmp_path / "equal", settings, stop_worse=True)
    assert {directory.result().state for directory in made.values()} == {"finished"}

    few = specs(optimization={"learning_rate": 1e-7})["r4"]  # four rows are held out
    made = train_together_here({"good": specs()["r4"], "bad": few}, tmp_path / "few", settings,
                               stop_worse=True)  # fmt: skip
    assert {directory.result().state for directory in made.values()} == {"finished"}


def path_of(directory) -> str:
    return str(directory.path)
