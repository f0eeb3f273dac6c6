"""Preference runs from the command line: trained by the worker, shown, and refused in words."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from lora_engine.__main__ import build
from lora_engine.errors import EngineError
from lora_engine.training.preflight import check_run
from tests.preference_files import pair_rows, write_rows
from tests.training_runs import tiny_spec


@pytest.fixture
def spec_file(tmp_path, tiny_llama):
    def write(objective):
        rows = write_rows(tmp_path / "rows.jsonl", pair_rows(24))
        path = tmp_path / "spec.json"
        document = {
            "base_model": str(tiny_llama),
            "dataset": {"source": str(rows)},
            "objective": objective,
            "optimization": {"max_steps": 4, "batch_size": 4, "learning_rate": 0.01},
            "report": {"samples": 0},
        }
        path.write_text(json.dumps(document))
        return path

    return write


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LORA_DEVICE", "cpu")
    return lambda *words: CliRunner().invoke(build(), [str(word) for word in words])


def test_a_run_over_pairs_trains_in_a_worker_and_says_how_it_ended(run, spec_file, tmp_path):
    done = run("train", spec_file({"kind": "dpo"}), "--run-dir", tmp_path / "run", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["state"] == "finished"
    assert 0 <= result["eval_reward_accuracy"] <= 1
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()


def test_supervised_training_refuses_pairs_and_names_the_objective(run, spec_file, tmp_path):
    refused = run("train", spec_file({"kind": "sft"}), "--run-dir", tmp_path / "run")
    assert isinstance(refused.exception, EngineError)  # main prints it and exits with 2
    assert "preference data" in refused.exception.problem
    assert "dpo" in refused.exception.remedy
    assert '"answer": "chosen"' in refused.exception.remedy
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_pairs_that_are_all_equal_are_refused(tmp_path, settings, kind):
    equal = [row | {"rejected": row["chosen"]} for row in pair_rows(8)]
    spec = tiny_spec(
        "starter", write_rows(tmp_path / "equal.jsonl", equal), objective={"kind": kind}
    )
    with pytest.raises(EngineError, match="each of the 8 rows"):
        check_run(spec, settings)
    one = [*equal, *pair_rows(1)]
    write_rows(tmp_path / "equal.jsonl", one)
    check_run(spec, settings)


def test_the_preview_prints_both_answers(run, spec_file):
    shown = run("preview", "--spec", spec_file({"kind": "dpo"}), "--n", "1", "--base", "starter")
    assert shown.exit_code == 0, shown.output
    assert "row 1, rejected" in shown.stdout
