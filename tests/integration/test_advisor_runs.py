"""The judgement of real runs on the starter: measured on rows that none of them saw."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lora_engine.__main__ import build
from lora_engine.advisor.judgement_report import Judgement
from lora_engine.advisor.loss_tables import spread
from lora_engine.compare.prompts import load_held_out_rows
from lora_engine.compare.scoring import paired_difference, row_losses
from lora_engine.data import tokenize_rows
from lora_engine.engine import Engine
from lora_engine.errors import EngineError, InvalidInput, NotFound
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.states import RunState
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec, spec_from
from tests.judged_runs import add_run, finish_run, result

DRAWS, ROWS = 500, 40
WORSE = "It was clearly worse than rank 8."


def spec(rank: int, rate: float = 1e-2, **changes) -> RunSpec:
    return spec_from(
        {
            "dataset": {"source": "starter:json", "eval_fraction": 0.0},
            "method": {"rank": rank, "target_modules": ["q_proj", "v_proj"]},
            "optimization": {"learning_rate": rate, "batch_size": 4, "max_steps": 6},
            "report": {"samples": 0},
            **changes,
        }
    )


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Three finished runs (a: rank 1, b: rank 8, c: rank 8 at a tiny learning rate), others not."""
    folder: Path = tmp_path_factory.mktemp("judged")
    settings = Settings(data_dir=folder, models_dir=folder / "models", device="cpu")
    finish_run(settings, "a", spec(1))
    finish_run(settings, "b", spec(8))
    finish_run(settings, "c", spec(8, 1e-6))
    add_run(settings, "failed", spec(16), RunState.FAILED)
    add_run(settings, "paused", spec(32), RunState.PAUSED)
    stopped = result(state="cancelled", stopped_because=WORSE)
    paused = RunDirectory(settings.runs_dir / "paused")
    paused.create(spec(32))
    paused.write_result(stopped)
    return Engine(settings)


@pytest.fixture(scope="module")
def judgement(engine: Engine) -> Judgement:
    """Of everything but the other data; what it said of its progress is checked here."""
    said: list[float] = []
    found = engine.advisor.judge(
        ["a", "b", "c", "failed", "paused"],
        deleted=["gone"],
        rows=ROWS,
        draws=DRAWS,
        progress=lambda share, doing: said.append(share),
    )
    assert said == sorted(said)
    assert said[-1] == pytest.approx(1.0)
    return found


def test_runs_are_judged_on_rows_that_none_saw_and_the_missing_are_named(
    judgement: Judgement,
) -> None:
    small, large = judgement.ranks
    assert (small.rank, large.rank) == (1, 8)
    assert large.learning_rate == 1e-2
    assert [one.runs for one in large.other_settings] == [("c",)]
    assert {one.state for one in judgement.missing} == {"failed", "paused", "deleted"}
    assert WORSE in {one.why for one in judgement.missing}
    assert judgement.rows == ROWS
    assert judgement.recommended_rank == 8
    assert small.eval_loss > large.eval_loss + judgement.not_worse_by
    assert small.forgetting is not None
    assert small.forgetting.rows == ROWS
    assert large.parameters == 8 * small.parameters


def test_the_losses_are_those_of_compare(engine: Engine, judgement: Judgement) -> None:
    model = engine.compare.model("starter", ["a"])
    rows = load_held_out_rows(engine.runs.directory("a").adapter_path, engine.settings)
    losses = list(row_losses(model, tokenize_rows(spread(rows, ROWS), model.shared.tokenizer, 512)))
    pair = paired_difference(losses, "a")
    assert judgement.ranks[0].eval_loss == pytest.approx(pair.loss, rel=1e-5)
    assert judgement.base_loss == pytest.approx(pair.base_loss, rel=1e-5)


def test_runs_that_cannot_be_judged_together_are_refused(engine: Engine) -> None:
    with pytest.raises(NotFound):
        engine.advisor.judge(["a", "nobody"])
    with pytest.raises(EngineError):
        engine.advisor.judge(["failed", "paused"])
    with pytest.raises(EngineError):
        engine.advisor.judge([])


def test_an_adapter_that_is_damaged_is_missing_and_the_others_are_judged(engine: Engine) -> None:
    runs = engine.settings.runs_dir
    shutil.copytree(runs / "b", runs / "torn")
    weights = runs / "torn" / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    add_run(engine.settings, "torn", spec(8), RunState.FINISHED)
    found = engine.advisor.used_rank(["a", "torn"])
    assert [one.run for one in found.runs] == ["a"]
    judged = engine.advisor.judge(["a", "torn"], rows=4, draws=DRAWS)
    assert [(one.id, one.state) for one in judged.missing] == [("torn", "finished")]
    assert judged.recommended_rank == 1


def test_runs_of_other_data_are_refused(engine: Engine) -> None:
    runs = engine.settings.runs_dir
    shutil.copytree(runs / "a", runs / "pirate")
    other = spec(1, dataset={"source": "starter:pirate"})
    add_run(engine.settings, "pirate", other, RunState.FINISHED)
    with pytest.raises(InvalidInput) as refused:
        engine.advisor.judge(["a", "pirate"])
    assert [problem.path for problem in refused.value.problems] == ["dataset"]


def test_what_runs_used_is_told_and_the_unfinished_are_left_out(engine: Engine) -> None:
    found = engine.advisor.used_rank(["a", "b", "paused"])
    assert [(one.run, one.rank) for one in found.runs] == [("a", 1), ("b", 8)]
    assert [one.differ_in for one in found.pairs] == ["rank"]


def test_proposals_are_measured_at_an_equal_budget(engine: Engine) -> None:
    proposals = engine.advisor.propose_ranks("b", 2)
    assert proposals.trained == spec(8).method
    found = engine.advisor.measure_proposals("b", proposals, rows=20, draws=DRAWS)
    assert found.rows == 20
    uniform, *others = found.proposals
    assert (uniform.interval.low, uniform.interval.high) == (0.0, 0.0)
    assert found.loss < found.base_loss
    for one in others:
        assert one.eval_loss - uniform.eval_loss == pytest.approx(one.interval.mean, abs=1e-6)
        assert one.general_interval is not None
        assert one.bytes <= uniform.bytes + 2_000  # names of patterns stand in no weights file
    json.dumps(found.to_json())


def test_the_command_line_advises_after_a_run(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_DATA_DIR", str(engine.settings.data_dir))
    told = CliRunner().invoke(build(), ["advise", "--run", "b", "--json"], catch_exceptions=False)
    document = json.loads(told.stdout)
    assert (document["run"], document["rank"]) == ("b", 8)
    assert {"suggested_rank", "range", "alpha", "rules", "used"} <= set(document)
    path = engine.settings.data_dir / "spec.json"
    path.write_text(spec(8).model_dump_json(), "utf-8")
    told = CliRunner().invoke(build(), ["advise", "--spec", str(path), "--json"])
    assert json.loads(told.stdout)["guessed_task"]["task"] == "style"  # answers are JSON
    with pytest.raises(EngineError):
        CliRunner().invoke(build(), ["advise", "--run", "failed"], catch_exceptions=False)
