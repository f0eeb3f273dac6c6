"""One task by several methods: a run each, what was counted and measured, and who could not."""

import json

import pytest
from typer.testing import CliRunner

from lora_engine.__main__ import build
from lora_engine.engine import Engine
from lora_engine.errors import Conflict, EngineError, NotFound
from lora_engine.measured_methods import latency
from lora_engine.run_folder import RunDirectory, RunProblem, RunResult
from lora_engine.runs import RunState, supervisor
from lora_engine.runs.store import RunStore
from lora_engine.settings import Settings
from lora_engine.spec import WAYS, sweep_over
from lora_engine.training.loop import TrainingProgress
from lora_engine.training.preparation import prepare
from lora_engine.training.reporting.outcome import run_result
from lora_engine.training.train_run import train_prepared
from tests.training_runs import tiny_spec

TRAINED = ("lora", "full", "prefix", "ia3")
FAILED = "bottleneck"


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return Settings(data_dir=tmp_path_factory.mktemp("data"), device="cpu")


@pytest.fixture(scope="module")
def engine(settings):
    """An engine that starts no worker: the runs train in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervisor.Supervisor, "_start_waiting", lambda self: None)
        patch.setattr(latency, "ANSWER_TOKENS", 4)
        yield Engine(settings)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = [{"prompt": f"Count to {n}", "response": f"{n} it is."} for n in range(20)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.fixture(scope="module")
def waiting(engine, tiny_llama, rows):
    """The report of the group before anything trained. What only LoRA takes stays with LoRA."""
    spec = tiny_spec(
        tiny_llama,
        rows,
        name="task r4",
        method={"rank": 4, "modules_to_save": ["lm_head"]},
        optimization={"max_steps": 2},
        dataset={"eval_fraction": 0.2},
    )
    return engine.methods.submit(spec, (*TRAINED, FAILED, "vera"))


@pytest.fixture(scope="module")
def group(engine, settings, waiting):
    """The id of the group when all its runs are over; one has failed, one was deleted."""
    store = RunStore(settings.database_path)
    for row in waiting.rows:
        store.claim([row.run], "cpu")
        directory = RunDirectory(settings.runs_dir / row.run)
        if row.way == FAILED:
            problem = RunProblem(problem="The loss is not finite.", remedy="Lower the rate.")
            directory.write_result(RunResult.failed(problem))
            store.move(row.run, [RunState.RUNNING], RunState.FAILED)
            continue
        if row.way in TRAINED:
            progress = TrainingProgress()
            train_prepared(prepare(directory, settings), False, progress, lambda: False)
            directory.write_result(run_result("finished", progress, None))
        store.move(row.run, [RunState.RUNNING], RunState.FINISHED)
        if row.way == "vera":
            engine.runs.delete(row.run)
    return waiting.id


def rows_of(report):
    return {row.way: row for row in report.rows}


def test_every_method_waits_as_a_run_of_one_group(engine, waiting):
    assert waiting.name == "task"
    assert [row.way for row in waiting.rows] == [*TRAINED[:2], "prefix", "ia3", FAILED, "vera"]
    assert {row.state for row in waiting.rows} == {"queued"}
    assert not waiting.is_over
    assert [view.id for view in engine.methods.list()] == [waiting.id]
    with pytest.raises(Conflict):
        engine.methods.measure_answers(waiting.id)


def test_the_measured_stands_beside_the_counted(engine, group):
    report = engine.methods.report(group)
    assert report.is_over
    assert not report.has_latencies
    found = rows_of(report)
    for way in TRAINED:
        row = found[way]
        assert row.state == "finished"
        assert row.measured.trained_parameters == row.counted.trained_parameters
        assert row.measured.steps == 2
        assert row.measured.eval_loss > 0
        assert row.measured.peak_memory_bytes > 0
        assert row.measured.answers is None
    assert found["lora"].learning_rate == 0.01
    assert found["full"].learning_rate != 0.01


def test_who_failed_or_is_gone_keeps_its_row_with_why(engine, group):
    found = rows_of(engine.methods.report(group))
    assert found[FAILED].state == "failed"
    assert found[FAILED].why == "The loss is not finite. Lower the rate."
    assert found[FAILED].measured is None
    assert found[FAILED].counted.trained_parameters > 0
    assert (found["vera"].state, found["vera"].run) == ("deleted", None)
    assert found["vera"].why


def test_answers_are_timed_beside_the_base_and_kept(engine, group, settings):
    told = []
    report = engine.methods.measure_answers(group, told.append)
    assert told == [f"task · {way}" for way in TRAINED]
    assert report.base_ms_per_token > 0
    for way, row in rows_of(report).items():
        measured = row.measured and row.measured.answers
        assert (measured is not None) == (way in TRAINED)
        if measured is not None:
            assert measured.ms_per_token > 0
            assert measured.times_base > 0
    assert engine.methods.report(group) == report
    (settings.sweeps_dir / group / "latencies.json").write_text("{")
    assert not engine.methods.report(group).has_latencies


def test_a_run_that_cannot_answer_is_noted(engine, group, settings):
    found = rows_of(engine.methods.report(group))
    weights = settings.runs_dir / found["ia3"].run / "adapter" / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:50])
    try:
        report = engine.methods.measure_answers(group)
    finally:
        weights.write_bytes(content)
    assert rows_of(report)["ia3"].measured.answers is None
    assert [note.partition(":")[0] for note in report.notes] == ["task · ia3"]
    assert rows_of(report)["lora"].measured.answers is not None


def test_the_command_prints_the_report(engine, group, settings, monkeypatch):
    monkeypatch.setenv("LORA_DATA_DIR", str(settings.data_dir))
    shown = CliRunner().invoke(build(), ["methods-report", group, "--json"])
    document = json.loads(shown.stdout)
    assert document["id"] == group
    rows = {row["way"]: row for row in document["rows"]}
    assert rows["lora"]["measured"]["trained_parameters"] > 0
    assert rows["lora"]["counted"]["latency"]
    assert rows[FAILED]["why"]
    table = CliRunner().invoke(build(), ["methods-report", group])
    assert "prefix tuning" in table.stdout


def test_what_cannot_begin_is_told_and_the_rest_begins(engine, tiny_llama, rows):
    spec = tiny_spec(tiny_llama, rows, method={"init": "pissa"})
    report = engine.methods.submit(spec, ("lora", "qlora", "prompt"))
    found = rows_of(report)
    assert (found["lora"].state, found["prompt"].state) == ("queued", "queued")
    assert (found["qlora"].state, found["qlora"].run) == ("refused", None)
    assert "pissa" in found["qlora"].why
    assert found["qlora"].counted.trained_parameters == found["lora"].counted.trained_parameters
    engine.sweeps.cancel(report.id)
    engine.sweeps.delete(report.id)


def test_nothing_is_left_where_none_can_begin(engine, tiny_llama, rows, settings):
    before = sorted(settings.sweeps_dir.iterdir())
    spec = tiny_spec(tiny_llama, rows, dataset={"source": str(rows.with_name("none.jsonl"))})
    with pytest.raises(EngineError):
        engine.methods.submit(spec, WAYS[:2])
    assert sorted(settings.sweeps_dir.iterdir()) == before


def test_other_sweeps_are_no_such_group(engine, tiny_llama, rows):
    other = engine.sweeps.submit(sweep_over(tiny_spec(tiny_llama, rows), ranks=[2, 4]))
    with pytest.raises(NotFound):
        engine.methods.report(other.id)
    assert other.id not in {view.id for view in engine.methods.list()}
