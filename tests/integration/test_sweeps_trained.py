"""Sweeps with real workers, from the command line and through the engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
        "optimization": {"learning_rate": 0.01, "batch_size": 4, "max_steps": 4},
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


def test_a_sweep_from_the_command_line_waits_for_its_runs(command, spec_file, settings):
    vary = "optimization.max_grad_norm=0"
    done = command(
        "sweep", spec_file, "--ranks", "2,4", "--seeds", "0", "--vary", vary, "--wait", "--json"
    )
    sweep = answer(done)
    assert [(run["rank"], run["learning_rate"], run["seed"]) for run in sweep["runs"]] == [
        (2, 0.01, 0),
        (4, 0.01, 0),
    ]
    assert [run["state"] for run in sweep["runs"]] == ["finished", "finished"]
    assert "tiny r4 · seed 0 · max grad norm 0: finished after step 4" in done.stderr
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
    assert (refused.returncode, refused.stdout) == (2, "")
