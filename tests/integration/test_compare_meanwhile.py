"""What may happen while an answer streams: a run is started, the adapter's run is deleted."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest

from lora_engine.compare.generate.answer_progress import AnswerProgress
from lora_engine.compare.scoring.column_proof import prove_columns
from lora_engine.data import Message
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.generation.sampling import Sampling
from lora_engine.runs.states import ACTIVE, OVER, RunState
from lora_engine.spec import RunSpec, spec_from
from tests.compare_models import save_adapter

ASK = [Message("user", "What colour is the sky?")]
SAMPLING = Sampling(max_new_tokens=200, temperature=1.0, seed=3)
PATIENCE_S = 120


@pytest.fixture
def engine(settings) -> Iterator[Engine]:
    engine = Engine(settings)
    yield engine
    for view in engine.runs.list():
        engine.runs.cancel(view.id)
    until(engine, lambda: all(view.record.state not in ACTIVE for view in engine.runs.list()))


@pytest.fixture
def adapter(engine, tmp_path, tiny_llama) -> str:
    from lora_engine.base_models import resolve_base_model

    base = resolve_base_model(str(tiny_llama), engine.settings)
    return str(save_adapter(tmp_path / "noisy", base, seed=1))


@pytest.fixture
def spec(tiny_llama, rows_file) -> RunSpec:
    return spec_from(
        {
            "name": "meanwhile",
            "base_model": str(tiny_llama),
            "dataset": {"source": str(rows_file)},
            "optimization": {"max_steps": 200, "batch_size": 4},
        }
    )


def until(engine: Engine, condition) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "the run did not get there"
        time.sleep(0.05)
        engine.runs.refresh()


def texts(progress: AnswerProgress) -> dict[str, str]:
    assert progress.finished
    return {name: column.text for name, column in progress.columns.items()}


def test_an_answer_goes_on_while_a_run_is_started_and_trains(engine, adapter, spec, tiny_llama):
    model = engine.compare.model(str(tiny_llama), [adapter])
    asked = dict.fromkeys(("base", adapter), ASK)
    *_, undisturbed = model.answer(asked, SAMPLING)

    steps = model.answer(asked, SAMPLING)
    assert not next(steps).finished
    run_id = engine.runs.submit(spec).id
    until(engine, lambda: engine.runs.get(run_id).newest is not None)
    *_, last = steps
    assert texts(last) == texts(undisturbed)
    assert prove_columns(model, ASK).base_is_base

    until(engine, lambda: engine.runs.get(run_id).record.state in OVER)
    assert engine.runs.get(run_id).record.state is RunState.FINISHED, engine.runs.log_tail(run_id)
    *_, trained = engine.compare.model(str(tiny_llama), [run_id]).answer({run_id: ASK}, SAMPLING)
    assert texts(trained)


def test_an_answer_goes_on_where_its_adapter_is_deleted_and_the_next_says_so(
    engine, adapter, tiny_llama
):
    model = engine.compare.model(str(tiny_llama), [adapter])
    *_, undisturbed = model.answer({adapter: ASK}, SAMPLING)
    steps = model.answer({adapter: ASK}, SAMPLING)
    next(steps)
    shutil.rmtree(adapter)
    *_, last = steps
    assert texts(last) == texts(undisturbed)
    with pytest.raises(EngineError, match="noisy"):
        engine.compare.model(str(tiny_llama), [adapter])
