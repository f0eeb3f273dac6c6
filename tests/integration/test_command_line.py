"""The command line as somebody scripts against it: one JSON document, exit codes, both streams."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from lora_engine.__main__ import build
from lora_engine.data import save_upload
from lora_engine.language import speaking
from lora_engine.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def process(tmp_path):
    """Runs `python -m lora_engine …` on a data folder of the test's own."""

    def call(*arguments: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "lora_engine", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "LORA_DATA_DIR": str(tmp_path / "data"), "LORA_DEVICE": "cpu"},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return call


@pytest.fixture
def run(run_command):
    """The same without a process of its own, which would import torch again."""

    def call(*arguments: object) -> subprocess.CompletedProcess:
        code, output, errors = run_command(*arguments)
        return subprocess.CompletedProcess(arguments, code, output, errors)

    return call


@pytest.fixture
def spec_file(tmp_path, tiny_llama, rows_file):
    path = tmp_path / "spec.json"
    document = {
        "name": "two steps",
        "base_model": str(tiny_llama),
        "dataset": {"source": str(rows_file)},
        "optimization": {"max_steps": 2, "batch_size": 4, "learning_rate": 0.01},
    }
    path.write_text(json.dumps(document))
    return path


def answer(done: subprocess.CompletedProcess):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(done: subprocess.CompletedProcess) -> str:
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert lines[-2].startswith("error: ")
    return done.stderr


def test_train_then_list_then_compare(process, run, spec_file, tiny_llama):
    result = answer(process("train", spec_file, "--json"))
    assert {
        "state", "steps", "train_loss", "eval_loss", "tokens", "tokens_per_s",
        "peak_memory_bytes", "elapsed_s", "error",
    } <= set(result)  # fmt: skip
    assert (result["state"], result["steps"]) == ("finished", 2)

    listed = answer(run("runs", "--json"))
    assert [item["state"] for item in listed] == ["finished"]
    shown = answer(run("show", listed[0]["id"], "--json"))
    assert shown["spec"]["optimization"]["max_steps"] == 2
    subprocess.run(["sh", "-c", shown["command"]], check=True, capture_output=True, timeout=300)
    again, first = answer(run("runs", "--json"))
    assert again["result"]["train_loss"] == first["result"]["train_loss"]
    answer(run("delete", again["id"], "--yes", "--json"))
    adapters = answer(run("adapters", "--json"))
    found = [(item["name"], item["rank"], item["bundled"]) for item in adapters]
    assert found == [("two steps", 8, False), ("starter:pirate-adapter", 8, True)]

    compared = answer(
        run(
            "compare", "--base", tiny_llama, "--adapter", listed[0]["id"],
            "--prompt", "What colour is the sky?", "--max-new-tokens", 4, "--json",
        )
    )  # fmt: skip
    assert [item["prompt"] for item in compared["prompts"]] == ["What colour is the sky?"]
    answers = compared["prompts"][0]["answers"]
    assert [item["name"] for item in answers] == ["base", listed[0]["id"]]
    assert all({"name", "text", "tokens"} <= set(item) for item in answers)
    assert compared["elapsed_s"] > 0


def test_train_into_a_folder_and_go_on_there(run, spec_file, tmp_path):
    folder = tmp_path / "own"
    assert answer(run("train", spec_file, "--run-dir", folder, "--json"))["steps"] == 2
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    assert "--resume" in refused(run("train", spec_file, "--run-dir", folder))
    assert run("runs", "--json").stdout.strip() == "[]"


def test_a_submitted_run_outlives_the_command(process, run, spec_file):
    submitted = answer(process("submit", spec_file, "--json"))
    assert submitted["state"] == "running"
    cancelled = answer(process("cancel", submitted["id"], "--json"))
    assert cancelled["state"] in ("cancelled", "finished")
    run_id = submitted["id"]
    assert answer(run("note", run_id, "=1+1 <b>", "--json"))["note"] == "=1+1 <b>"
    assert answer(run("tag", run_id, "first", "first", "bold", "--json"))["tags"] == [
        "first",
        "bold",
    ]
    assert answer(run("queue", "--json")) == []
    assert f"is {cancelled['state']}" in refused(run("pause", run_id))
    assert "Give --yes" in refused(run("delete", run_id))
    assert answer(run("delete", run_id, "--yes", "--json")) == {
        "id": run_id,
        "state": "deleted",
    }
    assert answer(run("runs", "--json")) == []


def test_a_rank_over_the_dimension_leaves_no_run(run, spec_file, tmp_path):
    document = json.loads(spec_file.read_text())
    spec_file.write_text(json.dumps({**document, "method": {"rank": 33}}))
    for command in (("submit",), ("train",), ("train", "--run-dir", tmp_path / "own")):
        said = refused(run(command[0], spec_file, *command[1:]))
        assert "method.rank: 33 is over the dimension" in said
        assert "layers.0.self_attn.k_proj" in said
        assert "at most 32 is allowed" in said
    assert not (tmp_path / "own").exists()
    assert answer(run("runs", "--json")) == []


def test_a_spec_with_three_errors_reports_three(run, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text('{"method": {"rank": 0}, "optimization": {"epochs": "three"}, "foo": 1}')
    said = refused(run("train", path, "--json"))
    for field in ("method.rank", "optimization.epochs", "foo"):
        assert field in said
    assert run("runs", "--json").stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "/nowhere.json"),
        ("show", "no-such-run"),
        ("cancel", "no-such-run"),
        ("params", "--d", "5"),
        ("params", "--preset", "no-such-model"),
        ("compare", "--base", "/nowhere", "--prompt", "hi"),
        ("compare", "--max-new-tokens", "0", "--prompt", "hi"),
        ("preview", "/nowhere.jsonl", "--base", "/nowhere"),
    ],
)
def test_what_is_wrong_is_said_on_standard_error_with_exit_2(run, arguments):
    refused(run(*arguments))


def test_params_by_hand(run):
    counted = answer(run("params", "--d", 4096, "--k", 4096, "--rank", 8, "--json"))
    assert (counted["full_parameters"], counted["lora_parameters"]) == (16_777_216, 65_536)
    assert counted["ratio"] == pytest.approx(0.00390625)


def test_doctor_lists_every_setting_and_tries_out_the_storage(process, monkeypatch, tmp_path):
    monkeypatch.setenv("LORA_RAY_STORAGE", f"file://{tmp_path}/storage")
    done = process("doctor", "--json")
    assert "gemm_4bit" not in done.stderr, "a library's hint stands there"
    checks = {check["name"]: check for check in answer(done)["checks"]}
    assert {"torch", "peft", "LORA_DATA_DIR", "LORA_MODELS_DIR", "LORA_DEVICE"} <= set(checks)
    assert all({"name", "ok", "detail"} <= set(check) for check in checks.values())
    assert checks["ray storage"]["ok"]
    assert not list((tmp_path / "storage").iterdir())


def test_what_is_bundled_is_listed(run):
    assert "starter" in [model["name"] for model in answer(run("models", "--json"))]
    names = [dataset["name"] for dataset in answer(run("datasets", "--json"))]
    assert {"starter:pirate", "starter:json", "starter:facts"} <= set(names)


def test_an_upload_is_listed_and_deleted_only_when_meant(run, tmp_path, rows_file):
    kept = save_upload(rows_file, "mine.jsonl", Settings(data_dir=tmp_path / "data"))
    assert kept.name in [item["name"] for item in answer(run("datasets", "--json"))]
    assert "Give --yes" in refused(run("delete-dataset", kept.name))
    assert "library has no dataset" in refused(run("delete-dataset", "../runs.db", "--yes"))
    assert run("delete-dataset", kept.name, "--yes").stdout == f"{kept.name}  deleted\n"
    assert kept.name not in [item["name"] for item in answer(run("datasets", "--json"))]


def test_a_tensor_is_flattened_and_taken_apart_as_asked(run, tmp_path):
    import numpy as np

    tensor = np.random.default_rng(0).standard_normal((6, 3, 4)).astype(np.float32)
    np.save(tmp_path / "filters.npy", tensor)

    found = answer(
        run("svd", tmp_path / "filters.npy", "--k", 2, "--flatten", "first", "--method", "gram",
            "--json")
    )  # fmt: skip

    expected = np.linalg.svd(tensor.reshape(6, 12), compute_uv=False)
    assert found["shape"] == [6, 12]
    assert found["method"] == "gram"
    assert found["singular_values"] == pytest.approx(expected, rel=1e-6)
    assert "first, last" in refused(
        run("svd", tmp_path / "filters.npy", "--k", 2, "--flatten", "sideways")
    )


def test_intruder_dimensions_are_looked_for_when_asked(run, tiny_llama):
    pair = ("--base", tiny_llama, "--tuned", tiny_llama)
    module = answer(run("spectrum", *pair, "--intruders", "--json"))["modules"][0]
    assert {"name", "singular_values", "intruders"} <= module.keys()


def test_a_dataset_is_checked_and_cleaned(run, tmp_path):
    rows = [{"prompt": f"What is {n}?", "completion": f"It is {n}." if n else ""} for n in range(3)]
    path, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    command = ("check-data", path, "--clean", out, "--drop", "empty_answer", "--json")
    found = answer(run(*command))
    assert [(one["kind"], one["first_rows"]) for one in found["findings"]] == [
        ("empty_answer", [1])
    ]
    assert found["cleaned"] == {"path": str(out), "rows": 2, "removed": {"empty_answer": 1}}
    assert len(out.read_text("utf-8").splitlines()) == 2
    assert "exists already" in refused(run(*command))
    assert "belong together" in refused(run("check-data", path, "--clean", tmp_path / "b.jsonl"))
    assert "'nothing'" in refused(run("check-data", path, "--clean", out, "--drop", "nothing"))


def test_the_command_line_speaks_the_language_it_is_told(tmp_path):
    def asked(language: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lora_engine", "resume", "none"],
            env={**os.environ, "LORA_DATA_DIR": str(tmp_path), "LORA_LANGUAGE": language},
            capture_output=True,
            text=True,
            timeout=120,
        )

    chinese, unknown = asked("zh"), asked("xx")

    assert (chinese.returncode, unknown.returncode) == (2, 2)
    assert "没有任务" in chinese.stderr
    assert "LORA_LANGUAGE" in unknown.stderr


def test_every_help_is_said_in_the_language():
    with speaking("zh"):
        commands = typer.main.get_command(build()).commands
        texts = [
            (name, text)
            for name, command in commands.items()
            for text in (command.help, *(one.help for one in command.params if one.name != "help"))
        ]

    assert len(commands) > 40
    assert [one for one in texts if not re.search("[一-鿿]", one[1] or "")] == []


def test_no_help_is_cut_short_in_chinese():
    done = subprocess.run(
        [sys.executable, "-m", "lora_engine", "--help"],
        env={**os.environ, "LORA_LANGUAGE": "zh", "COLUMNS": "80"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )

    with speaking("zh"):
        commands = typer.main.get_command(build()).commands.values()
    shown = re.sub(r"\s", "", done.stdout)
    helps = {one.name: one.short_help or one.help or "" for one in commands}
    assert [name for name, text in helps.items() if re.sub(r"\s", "", text) not in shown] == []
