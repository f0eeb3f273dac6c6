"""Runs of real workers that report to the real trackers; what these kept is read back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lora_engine.engine import Engine
from lora_engine.run_folder import MetricsRow, RunDirectory
from lora_engine.runs.states import RunState
from tests.integration.test_runs import wait_for_end
from tests.training_runs import tiny_spec

pytestmark = pytest.mark.slow

WANDB_HEADER, WANDB_BLOCK, RECORD_HEADER = 7, 32_768, 7


@pytest.fixture
def train(tiny_llama, rows_file, settings, tmp_path, monkeypatch) -> Callable[..., RunDirectory]:
    """Trains four steps in a worker whose home is empty; two evaluations."""
    for name in ("HF_HOME", "WANDB_API_KEY", "TRACKIO_DIR", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def run(name: str, **environment: str) -> tuple[RunDirectory, Engine]:
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        spec = tiny_spec(
            tiny_llama,
            rows_file,
            seed=7,
            report={"report_to": [name]},
            optimization={"max_steps": 4, "eval_every": 2},
        )
        engine = Engine(settings)
        run_id = engine.runs.submit(spec).id
        state = wait_for_end(engine, run_id)
        assert state in (RunState.FINISHED, RunState.FAILED)
        return engine.runs.directory(run_id), engine

    return run


def expected(directory: RunDirectory, name: str) -> dict[int, float]:
    def value(row: MetricsRow) -> float | None:
        return getattr(row, name)

    found = {row.step: value(row) for row in directory.metrics()}
    return {step: number for step, number in found.items() if number is not None}


def test_tensorboard_reads_every_step_from_the_runs_folder(train):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    directory, _ = train("tensorboard")
    assert directory.result().state == "finished", directory.log_tail()
    events = EventAccumulator(str(directory.path / "tensorboard"))
    events.Reload()
    for name in ("loss", "eval_loss", "learning_rate", "grad_norm"):
        read = {event.step: event.value for event in events.Scalars(name)}
        assert read == pytest.approx(expected(directory, name), rel=1e-6), name
    assert len(events.Scalars("loss")) == 4
    assert len(events.Scalars("eval_loss")) == 2
    (text,) = events.Tensors("spec/text_summary")
    assert b'"seed": 7' in text.tensor_proto.string_val[0]


def wandb_records(path: Path) -> Iterator:
    """The records of an offline run: LevelDB's log format around protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, record = path.read_bytes(), WANDB_HEADER, b""
    while at + RECORD_HEADER <= len(content):
        left = WANDB_BLOCK - at % WANDB_BLOCK
        if left < RECORD_HEADER:
            at += left
            continue
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        record += content[at + RECORD_HEADER : at + RECORD_HEADER + size]
        at += RECORD_HEADER + size
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(record)
            record = b""


def test_weights_and_biases_offline_keeps_every_step_in_the_runs_folder(train):
    directory, _ = train("wandb", WANDB_MODE="offline")
    assert directory.result().state == "finished", directory.log_tail()
    (kept,) = directory.path.glob("wandb/offline-run-*/*.wandb")
    records = list(wandb_records(kept))
    steps = [
        {
            (list(item.nested_key) or [item.key])[0]: json.loads(item.value_json)
            for item in record.history.item
        }
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    for name in ("loss", "eval_loss"):
        read = {step["_step"]: step[name] for step in steps if name in step}
        assert read == pytest.approx(expected(directory, name)), name
    (begun,) = [item.run for item in records if item.WhichOneof("record_type") == "run"]
    assert begun.run_id == directory.path.name
    config = {item.key: json.loads(item.value_json) for item in begun.config.update}
    assert config["seed"] == 7
    assert not begun.git.remote_url
    assert not any(item.WhichOneof("record_type") == "output_raw" for item in records)


def test_weights_and_biases_without_a_login_says_what_to_do(train):
    directory, engine = train("wandb")
    result = engine.runs.get(directory.path.name).result
    assert (result.state, result.steps) == ("failed", 0)
    assert not result.error.is_bug
    assert "No API key" in result.error.problem
    assert "wandb login" in result.error.remedy
    assert "WANDB_MODE=offline" in result.error.remedy


def test_trackio_keeps_every_step_in_its_database(train, tmp_path):
    directory, _ = train("trackio", TRACKIO_DIR=str(tmp_path / "kept"))
    assert directory.result().state == "finished", directory.log_tail()
    with sqlite3.connect(tmp_path / "kept" / "rankscope.db") as database:
        asked = "select step, metrics from metrics where run_name = ?"
        rows = database.execute(asked, [directory.path.name]).fetchall()
        (config,) = database.execute("select config from configs").fetchone()
        assert database.execute("select count(*) from system_metrics").fetchone() == (0,)
    steps = {step: json.loads(numbers) for step, numbers in rows}
    for name in ("loss", "eval_loss"):
        read = {step: numbers[name] for step, numbers in steps.items() if name in numbers}
        assert read == pytest.approx(expected(directory, name)), name
    assert json.loads(config)["seed"] == 7
