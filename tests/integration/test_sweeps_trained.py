"""Sweeps with real workers, from the command line and through the engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from lora_engine.engine import Engine
from lora_engine.run_folder import living_worker
from lora_engine.runs.states import OVER, RunState
from lora_engine.runs.supervisor import Supervisor
from lora_engine.spec import spec_from, sweep_over

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command(settings):
    """Runs `python -m lora_engine …` on the test's data folder."""

    def call(*arguments: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "lora_engine", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "LORA_DATA_DIR": str(settings.data_dir), "LORA_DEVICE": "cpu"},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return call


@pytest.fixture
def document(tiny_llama, rows_file):
    return {
        "name": "tiny r8",
        "base_model": str(tiny_llama),
        "dataset": {"source": str(rows_file)},
        "optimization": {"learning_rate": 0.01, "batch_size": 4, "max_steps": 16},
        "report": {"samples": 0},
    }


@pytest.fixture
def spec_file(tmp_path, document):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(document))
    return path


def answer(done: subprocess.CompletedProcess):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_sweep_from_the_command_line_stops_what_is_worse_and_is_judged(
    command, spec_file, settings
):
    done = command(
        "sweep", spec_file, "--ranks", "2,4", "--learning-rates", "0.02,1e-9",
        "--vary", "dataset.eval_fraction=0.3", "--stop-worse", "--wait", "--json",
    )  # fmt: skip
    sweep = answer(done)
    assert [(run["rank"], run["learning_rate"], run["seed"]) for run in sweep["runs"]] == [
        (2, 0.02, 0), (2, 1e-9, 0), (4, 0.02, 0), (4, 1e-9, 0),
    ]  # fmt: skip
    assert [run["state"] for run in sweep["runs"]] == ["finished", "paused"] * 2
    for stopped in sweep["runs"][1::2]:
        assert "Clearly worse" in stopped["result"]["stopped_because"]
        assert stopped["step"] < 16
        assert (settings.runs_dir / stopped["id"] / "checkpoints").is_dir()
    assert "tiny r4 · lr 0.02 · eval fraction 0.3: finished after step 16" in done.stderr
    for run in sweep["runs"]:
        folder = settings.runs_dir / run["id"]
        assert {path.name for path in folder.iterdir()} >= {"adapter", "result.json", "spec.json"}
        config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
        assert (config["r"], config["lora_alpha"]) == (run["rank"], 2 * run["rank"])

    judgement = sweep["judgement"]
    assert {"recommended_rank", "not_worse_by", "rows", "interval", "ranks"} <= judgement.keys()
    assert [one["rank"] for one in judgement["ranks"]] == [2, 4]
    assert {"rank", "eval_loss", "interval", "forgetting"} <= judgement["ranks"][0].keys()

    assert answer(command("sweeps", "--json"))[0]["id"] == sweep["id"]
    shown = answer(command("sweeps", sweep["id"], "--json"))
    assert shown["runs"] == sweep["runs"]
    refused = command("sweeps", sweep["id"], "resume")
    assert "2 paused" in refused.stderr
    assert (refused.returncode, refused.stdout) == (2, "")


@pytest.fixture
def engine(settings, monkeypatch) -> Iterator[Engine]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for each other on a busy machine
    engine = Engine(settings)
    yield engine
    for view in engine.runs.list():
        engine.runs.cancel(view.id)
    wait(engine, lambda: all(view.record.state in OVER for view in engine.runs.list()))


def wait(engine: Engine, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "the runs did not get there"
        time.sleep(0.05)
        engine.runs.refresh()


def curve(engine: Engine, run_id: str) -> list[tuple]:
    """A step's numbers. The losses of one pass over the base are equal up to the order of sums."""
    return [
        (
            row.step,
            row.learning_rate,
            row.tokens,
            approx(row.loss),
            approx(row.grad_norm),
            None if row.eval_loss is None else approx(row.eval_loss),
        )
        for row in engine.runs.metrics(run_id)
    ]


def approx(value: float):
    return pytest.approx(value, rel=1e-4)


def adapter(engine: Engine, run_id: str) -> dict[str, np.ndarray]:
    return load_file(engine.runs.directory(run_id).adapter_path / "adapter_model.safetensors")


def test_a_killed_shared_worker_resumes_each_run_exactly_and_a_failed_one_hinders_none(
    engine, document, monkeypatch
):
    document["optimization"] |= {"max_steps": 40, "save_every": 6, "eval_every": 20}
    document["method"] = {"dropout": 0.1}
    with monkeypatch.context() as before_any_worker:
        before_any_worker.setattr(Supervisor, "tick", lambda self: None)
        sweep = engine.sweeps.submit(sweep_over(spec_from(document), ranks=[2, 4, 8]))
    first, second, third = (run.id for run in sweep.runs)
    spec_path = engine.runs.directory(third).spec_path
    sound = spec_path.read_bytes()
    spec_path.write_bytes(b"{")  # it fails in the worker, beside the others

    def states() -> list[RunState]:
        return [run.record.state for run in engine.sweeps.get(sweep.id).runs]

    def step(run_id: str) -> int:
        newest = engine.runs.get(run_id).newest
        return newest.step if newest else 0

    wait(engine, lambda: min(step(first), step(second)) > 6)
    assert states() == [RunState.RUNNING, RunState.RUNNING, RunState.FAILED]
    workers = {living_worker(engine.runs.directory(one)) for one in (first, second)}
    (worker,) = workers
    os.killpg(worker.pid, signal.SIGKILL)
    wait(engine, lambda: RunState.RUNNING not in states())
    assert states() == [RunState.INTERRUPTED, RunState.INTERRUPTED, RunState.FAILED]

    spec_path.write_bytes(sound)
    engine.sweeps.resume(sweep.id)
    wait(engine, lambda: engine.sweeps.get(sweep.id).is_over)
    assert states() == [RunState.FINISHED] * 3, engine.runs.log_tail(first)
    assert "resumed after step" in engine.runs.log_tail(first)

    alone = engine.runs.submit(engine.runs.get(second).record.spec).id
    wait(engine, lambda: engine.runs.get(alone).record.state in OVER)
    rows = engine.runs.metrics(second)
    assert [row.step for row in rows] == list(range(1, 41))
    numbers = [
        (row.step, row.learning_rate, row.tokens, row.loss, row.grad_norm, row.eval_loss)
        for row in rows
    ]
    assert numbers == curve(engine, alone)
    trained, expected = adapter(engine, second), adapter(engine, alone)
    assert trained.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(trained[name], tensor, rtol=1e-3, atol=1e-5, err_msg=name)
    together, by_itself = (engine.runs.get(one).result for one in (second, alone))
    assert together.tokens == by_itself.tokens
    assert together.eval_loss == approx(by_itself.eval_loss)
    assert together.train_loss == approx(by_itself.train_loss)
