"""Real workers: they train, stop, die and are found again, all through the engine's own doors."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from lora_engine.base_models import load_base_model, load_tokenizer, resolve_base_model
from lora_engine.engine import Engine
from lora_engine.errors import Conflict, EngineError
from lora_engine.run_folder import is_alive
from lora_engine.runs.states import ACTIVE, OVER, RunState
from lora_engine.spec import RunSpec, spec_from
from tests.launcher_contract import suspended

PATIENCE_S = 120


@pytest.fixture
def engine(settings) -> Iterator[Engine]:
    engine = Engine(settings)
    yield engine
    for view in engine.runs.list():
        engine.runs.cancel(view.id)
    wait(engine, lambda: all(view.record.state not in ACTIVE for view in engine.runs.list()))


@pytest.fixture
def make_spec(tiny_llama, rows_file) -> Callable[..., RunSpec]:
    def make(**optimization) -> RunSpec:
        return spec_from(
            {
                "name": "tiny",
                "base_model": str(tiny_llama),
                "dataset": {"source": str(rows_file)},
                "method": {"dropout": 0.1},
                "report": {"samples": 1, "sample_tokens": 4},
                "optimization": {"learning_rate": 0.01, "batch_size": 4, **optimization},
            }
        )

    return make


def wait(engine: Engine, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "the run did not get there"
        time.sleep(0.05)
        engine.runs.refresh()


def wait_for_end(engine: Engine, run_id: str) -> RunState:
    wait(engine, lambda: engine.runs.get(run_id).record.state in OVER)
    return engine.runs.get(run_id).record.state


def wait_for_step(engine: Engine, run_id: str, step: int) -> None:
    def there() -> bool:
        view = engine.runs.get(run_id)
        assert view.record.state in (RunState.QUEUED, *ACTIVE), engine.runs.log_tail(run_id)
        return view.newest is not None and view.newest.step >= step

    wait(engine, there)


@pytest.fixture
def asked_outside(monkeypatch) -> Iterator[list]:
    """Connections that workers open to the network, caught by a proxy that only listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    caught: list = []

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, address = listener.accept()
                caught.append(address)
                connection.close()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listener.getsockname()[1]}")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield caught
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_a_run_leaves_everything_the_contract_names_and_asks_nobody_outside(
    engine, make_spec, tiny_llama, asked_outside
):
    run_id = engine.runs.submit(make_spec(max_steps=2)).id
    assert wait_for_end(engine, run_id) is RunState.FINISHED, engine.runs.log_tail(run_id)

    directory = engine.runs.directory(run_id)
    names = {path.name for path in directory.path.iterdir()}
    assert {"spec.json", "metrics.jsonl", "worker.log", "adapter", "result.json", "lock"} <= names
    rows = [json.loads(line) for line in directory.metrics_path.read_text().splitlines()]
    assert [(row["seq"], row["step"]) for row in rows] == [(1, 1), (2, 2)]
    assert {
        "epoch", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_s", "elapsed_s",
        "memory_bytes",
    } <= set(rows[0])  # fmt: skip
    assert "eval_loss" in rows[1]
    result = json.loads(directory.result_path.read_text())
    assert (result["state"], result["steps"], result["error"]) == ("finished", 2, None)
    provenance = json.loads((directory.adapter_path / "provenance.json").read_text())
    assert {
        "run", "spec", "base_fingerprint", "data_hash", "chat_template_hash", "versions",
    } <= set(provenance)  # fmt: skip
    _assert_peft_loads_it(engine, directory.adapter_path, tiny_llama)
    assert asked_outside == []


def _assert_peft_loads_it(engine, adapter_path, base_path):
    """The saved folder is a plain PEFT adapter, and it changes what the base says."""
    import torch
    from peft import PeftModel

    base = resolve_base_model(str(base_path), engine.settings)
    model = load_base_model(base, "cpu", torch.float32).eval()
    tokens = torch.tensor([load_tokenizer(base)("What colour").input_ids])
    with torch.inference_mode():
        before = model(tokens).logits
        after = PeftModel.from_pretrained(model, adapter_path)(tokens).logits
    assert (before - after).abs().max() > 1e-4


def test_paused_and_resumed_is_the_same_as_neither(engine, make_spec):
    """Everything is pressed twice, as a person who waits does."""
    spec = make_spec(max_steps=40, save_every=1000, eval_every=10)
    whole, paused = engine.runs.submit(spec).id, engine.runs.submit(spec).id
    assert engine.runs.get(whole).record.state is RunState.RUNNING
    assert engine.runs.get(paused).record.state is RunState.QUEUED
    # it waited, so nothing was lost
    assert engine.runs.pause(paused).record.state is RunState.PAUSED
    assert wait_for_end(engine, whole) is RunState.FINISHED
    expected = {row.step: row.loss for row in engine.runs.metrics(whole)}
    assert len(set(expected.values())) == 40

    _pause_and_resume(engine, paused)
    assert {row.step: row.loss for row in engine.runs.metrics(paused)} == expected

    engine.runs.delete(paused)
    assert {view.id for view in engine.runs.list()} == {whole}
    assert {path.name for path in engine.settings.runs_dir.iterdir()} == {whole}
    assert list((engine.settings.data_dir / "deleted").iterdir()) == []
    with pytest.raises(EngineError, match="no run"):
        engine.runs.delete(paused)


def _pause_and_resume(engine, paused):
    assert [engine.runs.resume(paused).record.state for _ in "12"] == [RunState.RUNNING] * 2
    wait_for_step(engine, paused, 5)
    worker = suspended(engine.runs.directory(paused))
    with pytest.raises(Conflict, match="Cancel it first"):
        engine.runs.delete(paused)
    assert [engine.runs.pause(paused).record.state for _ in "12"] == [RunState.PAUSING] * 2
    worker.resume()
    assert wait_for_end(engine, paused) is RunState.PAUSED
    step = engine.runs.get(paused).newest.step
    saved = [path.name for path in engine.runs.directory(paused).checkpoints_path.iterdir()]
    assert (saved, step < 40) == ([f"step-{step}"], True)

    engine.runs.resume(paused)
    assert wait_for_end(engine, paused) is RunState.FINISHED, engine.runs.log_tail(paused)
    for press in (engine.runs.pause, engine.runs.resume):
        with pytest.raises(Conflict, match="finished"):
            press(paused)


def test_a_restarted_server_adopts_a_run_once(engine, make_spec, settings):
    run_id = engine.runs.submit(make_spec(max_steps=400)).id
    wait_for_step(engine, run_id, 1)

    another = Engine(settings)  # what a restarted server makes; the first is simply gone
    another.runs.refresh()
    assert another.runs.get(run_id).record.state is RunState.RUNNING
    assert len(another.runs.list()) == 1
    wait_for_step(another, run_id, 3)

    another.runs.cancel(run_id)
    another.runs.cancel(run_id)
    assert wait_for_end(another, run_id) is RunState.CANCELLED
    assert not is_alive(another.runs.directory(run_id))
    assert (another.runs.directory(run_id).adapter_path / "adapter_model.safetensors").exists()
    assert another.runs.get(run_id).result.steps >= 3


def test_a_queued_run_is_cancelled_without_starting(engine, make_spec):
    running = engine.runs.submit(make_spec(max_steps=400)).id
    waiting = engine.runs.submit(make_spec(max_steps=2)).id
    assert engine.runs.cancel(waiting).record.state is RunState.CANCELLED
    engine.runs.cancel(running)
    assert wait_for_end(engine, running) is RunState.CANCELLED
    assert not engine.runs.directory(waiting).metrics_path.exists()


SERVER = """
import sys, time
from pathlib import Path
from lora_engine.engine import Engine
from lora_engine.environment import load_settings
from lora_engine.spec import read_spec
engine = Engine(load_settings())
engine.start()
print(engine.runs.submit(read_spec(Path(sys.argv[1]))).id, flush=True)
time.sleep(600)
"""


def test_a_server_killed_mid_run_loses_no_row_and_the_run_is_adopted_once(
    engine, make_spec, settings, tmp_path
):
    spec_file = tmp_path / "spec.json"
    spec_file.write_text(make_spec(max_steps=60, save_every=1000).model_dump_json())
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(spec_file)],
        env={**os.environ, "LORA_DATA_DIR": str(settings.data_dir), "LORA_DEVICE": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
    )
    run_id = server.stdout.readline().strip()
    wait_for_step(engine, run_id, 3)
    worker = engine.runs.directory(run_id).lock_path.read_bytes()
    server.kill()
    server.communicate()

    assert wait_for_end(engine, run_id) is RunState.FINISHED, engine.runs.log_tail(run_id)
    assert engine.runs.directory(run_id).lock_path.read_bytes() == worker
    assert len(engine.runs.list()) == 1
    rows = [json.loads(line) for line in engine.runs.directory(run_id).metrics_path.open()]
    assert [(row["seq"], row["step"]) for row in rows] == [(n, n) for n in range(1, 61)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base_model": "nowhere"}, "no base model 'nowhere'"),
        ({"dataset": {"source": "/nowhere.jsonl"}}, "nowhere.jsonl"),
        ({"method": {"target_modules": ["q_prj"]}}, "q_prj"),
        ({"method": {"rank_pattern": {"nothing": 4}}}, "nothing"),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_no_run(engine, make_spec, change, words):
    document = make_spec(max_steps=2).model_dump(mode="json")
    for key, value in change.items():
        document[key] = {**document[key], **value} if isinstance(value, dict) else value
    with pytest.raises(EngineError, match=words):
        engine.runs.submit(spec_from(document))
    assert engine.runs.list() == []
    assert list(engine.settings.runs_dir.iterdir()) == []


def test_targets_that_match_nothing_list_what_would(engine, make_spec):
    document = make_spec().model_dump(mode="json")
    document["method"]["target_modules"] = ["q_prj"]
    with pytest.raises(EngineError, match="q_proj, k_proj|q_proj") as caught:
        engine.runs.submit(spec_from(document))
    assert "down_proj" in caught.value.remedy


def test_several_problems_come_together(engine):
    spec = spec_from({"base_model": "nowhere", "dataset": {"source": "/nowhere.jsonl"}})
    with pytest.raises(EngineError) as caught:
        engine.runs.submit(spec)
    assert "base_model" in caught.value.problem
    assert "dataset" in caught.value.problem
