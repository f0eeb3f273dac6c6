"""A SkyPilot task file: its fields, what it takes along, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
import shlex
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

# The fields of a task and of its resources that SkyPilot 0.14 documents and its schema knows.
TASK_FIELDS = {"name", "resources", "workdir", "file_mounts", "envs", "setup", "run"}
RESOURCE_FIELDS = {"infra", "accelerators", "cpus", "memory", "disk_size", "use_spot"}


@pytest.fixture
def spec_file(tmp_path: Path, tiny_llama: Path, rows_file: Path) -> Path:
    path = tmp_path / "spec.json"
    document = {
        "name": "Zeile $(touch x)\N{SNOWMAN}",
        "base_model": str(tiny_llama),
        "dataset": {"source": str(rows_file), "eval_source": str(rows_file)},
    }
    path.write_text(json.dumps(document), "utf-8")
    return path


def test_a_task_takes_along_what_lies_here(
    run_command, spec_file: Path, tiny_llama: Path, rows_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "task.yaml"
    code, out, _ = run_command(
        "export-task", spec_file, "-o", output, "--accelerators", "A100:2", "--cpus", 8,
        "--memory-gib", 64, "--spot", "--storage", "s3://lab-bucket/runs/1", "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["task"] == str(output)
    task = yaml.safe_load(output.read_text("utf-8"))
    assert set(task) == TASK_FIELDS
    assert set(task["resources"]) <= RESOURCE_FIELDS
    assert task["resources"] == {
        "accelerators": "A100:2", "cpus": "8+", "memory": "64+", "use_spot": True,
    }  # fmt: skip
    mounts = task["file_mounts"]
    there = json.loads((tmp_path / "task.spec.json").read_text("utf-8"))
    assert mounts[there["base_model"]] == str(tiny_llama)
    assert mounts[there["dataset"]["source"]] == str(rows_file)
    assert there["dataset"]["eval_source"] == there["dataset"]["source"]
    words = shlex.split(task["run"])
    assert mounts[words[words.index("train") + 1]] == str(tmp_path / "task.spec.json")
    run_dir = words[words.index("--run-dir") + 1]
    assert mounts[run_dir] == {"source": "s3://lab-bucket/runs/1", "mode": "MOUNT_CACHED"}
    assert "touch" not in task["run"] + task["setup"]
    assert (Path(task["workdir"]) / "lora_engine").is_dir()
    if importlib.util.find_spec("sky"):
        import sky

        sky.Task.from_yaml_config(task)


def test_what_the_program_or_the_hub_has_stays_there(run_command, tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"base_model": "org/model"}), "utf-8")
    assert run_command("export-task", spec, "-o", tmp_path / "t.yaml")[0] == 0
    task = yaml.safe_load((tmp_path / "t.yaml").read_text("utf-8"))
    assert list(task["file_mounts"].values()) == [str(tmp_path / "t.spec.json")]
    assert task["envs"]["LORA_DEVICE"] == "cpu"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--accelerators", "A100:3; touch x"], "looks like A100:1"),
        (["--storage", "/home/me"], "--storage"),
        (["--cpus", "0"], "--cpus"),
        (["--accelerators", "A100:2"], "--accelerators asks for 2"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_written(
    run_command, spec_file: Path, tmp_path: Path, options: list[str], named: str
) -> None:
    output = tmp_path / "task.yaml"
    document = json.loads(spec_file.read_text("utf-8"))
    spec_file.write_text(json.dumps({**document, "optimization": {"devices": 3}}), "utf-8")
    code, _, error = run_command("export-task", spec_file, "-o", output, *options)
    assert code == 2
    assert named in error
    assert not output.exists()


@pytest.mark.parametrize("name", ['it\'s "so" $(touch x): #1', "\N{GRINNING FACE}", "line\nbreak"])
def test_any_path_is_read_back_as_it_is_and_is_one_word_of_the_command(
    run_command, tiny_llama: Path, rows_file: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    rows = folder / rows_file.name
    rows.write_bytes(rows_file.read_bytes())
    spec = folder / "spec.json"
    spec.write_text(json.dumps({"dataset": {"source": str(rows)}}), "utf-8")
    code, out, _ = run_command("export-task", spec, "-o", folder / "t.yaml")
    assert code == 0
    command = out[out.index("`") + 1 : out.rindex("`")]
    assert shlex.split(command) == ["sky", "launch", str(folder / "t.yaml")]
    task = yaml.safe_load((folder / "t.yaml").read_text("utf-8"))
    assert str(rows) in task["file_mounts"].values()


@pytest.mark.parametrize("output", ["", "/", "x" * 300 + ".yaml", "spec.json/task.yaml"])
def test_an_output_that_is_no_file_is_a_sentence(
    run_command, spec_file: Path, tmp_path: Path, monkeypatch, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    code, _, error = run_command("export-task", spec_file, "-o", output)
    assert code == 2
    assert error.startswith("error:")
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("source", ["/dev/zero", "starter:nobody"])
def test_rows_that_are_no_file_are_refused(run_command, tmp_path: Path, source: str) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"dataset": {"source": source}}), "utf-8")
    code, _, error = run_command("export-task", spec, "-o", tmp_path / "t.yaml")
    assert (code, source.rpartition(":")[2] in error) == (2, True)
    assert not (tmp_path / "t.yaml").exists()


def test_a_file_that_is_there_is_kept(run_command, spec_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "task.yaml"
    output.write_text("mine", "utf-8")
    assert run_command("export-task", spec_file, "-o", output)[0] == 2
    assert output.read_text("utf-8") == "mine"
