"""Sets on a hub: configuration, split, a private one; the real `datasets` against a local server.

The endpoint is read when the libraries are first imported, so the sets are read in a child process,
all of them in one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dataset_hub import TOKEN, HubSet, HubSets, running_dataset_hub

pytestmark = pytest.mark.slow

CARD = b"""---
configs:
- config_name: easy
  data_files:
  - split: train
    path: easy/train.jsonl
  - split: test
    path: easy/test.jsonl
- config_name: hard
  data_files: hard/rows.jsonl
---
"""
WRONG = b'\n{"prompt": "Hi", "completion": null}'
OUTSIDE = b"---\nconfigs:\n- config_name: default\n  data_files: %s\n---\n"

READ = """
import json, sys
from pathlib import Path
from lora_engine.data import load_dataset, split_rows
from lora_engine.data import column_names, first_records
from lora_engine.errors import EngineError
from lora_engine.environment import load_settings
from lora_engine.spec import spec_from

def read(document):
    spec = spec_from({"dataset": document}).dataset
    try:
        dataset = load_dataset(spec, load_settings())
        training, evaluation = split_rows(dataset, spec.eval_fraction, 0)
        questions = [[row.messages[0].content for row in rows] for rows in (training, evaluation)]
        columns = column_names(first_records(spec, load_settings(), 1))
        return {"questions": questions, "columns": columns, "source": dataset.source}
    except EngineError as error:
        return {"problem": error.problem, "remedy": error.remedy}

print(json.dumps([read(document) for document in json.load(sys.stdin)]))
"""


def rows(start: int, count: int) -> bytes:
    made = ({"prompt": f"Q{n}", "completion": f"A{n}"} for n in range(start, start + count))
    return "\n".join(map(json.dumps, made)).encode()


@pytest.fixture(scope="module")
def hub():
    with running_dataset_hub() as state:
        easy = {"easy/train.jsonl": rows(0, 20), "easy/test.jsonl": rows(20, 4)}
        state.sets["me/two"] = HubSet({"README.md": CARD, "hard/rows.jsonl": rows(30, 6)} | easy)
        state.sets["me/private"] = HubSet({"train.jsonl": rows(0, 20)}, token=TOKEN)
        state.sets["me/wrong"] = HubSet({"train.jsonl": rows(0, 2) + WRONG})
        for name, path in (("local", b"/etc/hostname"), ("other", b"hf://datasets/me/two/x.jsonl")):
            state.sets[f"me/{name}"] = HubSet({"README.md": OUTSIDE % path, "x.jsonl": rows(0, 2)})
        yield state


def read(hub: HubSets, folder: Path, documents: list[dict], **environment: str) -> list[dict]:
    """What became of each dataset section, read in one child."""
    passed = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    child = subprocess.run(
        [sys.executable, "-c", READ],
        input=json.dumps(documents),
        env={
            **passed, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "hf"),
            "LORA_DATA_DIR": str(folder / "data"), **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    assert TOKEN not in child.stdout
    return json.loads(child.stdout)


def test_configuration_split_and_parts_of_it_are_read_and_named_where_they_are_not_there(
    hub: HubSets, tmp_path: Path
) -> None:
    held = tmp_path / "held.jsonl"
    held.write_bytes(rows(18, 4))
    hard, rest = {"source": "me/two", "config": "hard"}, {"source": "me/two", "split": "test"}
    mixture = [{**hard, "weight": 6.0}, {**rest, "weight": 4.0}]
    easy = {"source": "me/two", "config": "easy", "eval_fraction": 0.0}
    first, test, part, own, mixed, with_file, several, unknown, no_split, wrong, local, other = (
        read(
            hub,
            tmp_path,
            [
                easy,
                {**easy, "split": "test"},
                {**easy, "split": "train[10%:20%]"},
                {**easy, "eval_split": "test"},
                {"config": "easy", "mixture": mixture, "eval_fraction": 0.0},
                {**easy, "eval_source": str(held)},
                {"source": "me/two"},
                {"source": "me/two", "config": "harder"},
                {**easy, "split": "validation"},
                {"source": "me/wrong"},
                {"source": "me/local"},
                {"source": "me/other"},
            ],
        )
    )
    assert first["questions"] == [[f"Q{n}" for n in range(20)], []]
    assert first["columns"] == ["prompt", "completion"]
    assert test["questions"][0] == ["Q20", "Q21", "Q22", "Q23"]
    assert part["questions"][0] == ["Q2", "Q3"]
    assert part["source"] == "me/two (easy, train[10%:20%])"
    assert own["questions"] == [[f"Q{n}" for n in range(20)], ["Q20", "Q21", "Q22", "Q23"]]
    assert {*mixed["questions"][0]} == {f"Q{n}" for n in [*range(30, 36), *range(20, 24)]}
    assert with_file["questions"] == [
        [f"Q{n}" for n in range(18)],
        [f"Q{n}" for n in range(18, 22)],
    ]
    assert "easy, hard" in several["problem"]
    assert "'harder'" in unknown["problem"]
    assert "no split 'validation'; it has: train, test" in no_split["problem"]
    assert "row 3: completion" in wrong["problem"]
    assert "names files that are not its own" in local["problem"]
    assert "names files that are not its own" in other["problem"]


def test_a_private_set_is_read_with_the_token_and_asked_for_without(
    hub: HubSets, tmp_path: Path
) -> None:
    private = [{"source": "me/private"}, {"source": "me/none"}]
    refused, none = read(hub, tmp_path / "a", private)
    assert "HF_TOKEN" in refused["remedy"]
    assert "HF_TOKEN" in none["remedy"]
    wrong, _ = read(hub, tmp_path / "b", private, HF_TOKEN="hf_another_that_is_wrong_0000")
    assert "may not" in wrong["problem"]
    assert "hf_another" not in str(wrong)
    found, _ = read(hub, tmp_path / "c", private, HF_TOKEN=TOKEN)
    assert sorted(sum(found["questions"], [])) == sorted(f"Q{n}" for n in range(20))


def test_a_run_on_a_private_set_trains_and_its_token_is_nowhere(
    hub: HubSets, tmp_path: Path
) -> None:
    """A run that finishes, and one whose set fails with an error that repeats the token."""
    hub.asked.clear()
    hub.sets["me/breaks"] = HubSet({"train.jsonl": rows(0, 9)}, TOKEN, breaks=("train.jsonl",))
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
        "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": TOKEN,
        "LORA_DATA_DIR": str(tmp_path / "data"), "LORA_DEVICE": "cpu",
    }  # fmt: skip
    said = []
    for name, status in (("private", 0), ("breaks", 2)):
        dataset = {"source": f"me/{name}", "filters": {"drop_matching": "Q3"}}
        spec = tmp_path / f"{name}.json"
        steps = {"max_steps": 1, "epochs": None, "batch_size": 2, "eval_every": 1}
        spec.write_text(json.dumps({"dataset": dataset, "optimization": steps}))
        child = subprocess.run(
            [sys.executable, "-m", "lora_engine", "train", str(spec), "--run-dir",
             str(tmp_path / name), "--json"],
            env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert child.returncode == status, child.stderr
        said += [child.stdout, child.stderr]
    asked = {(path, sent) for _, path, sent in hub.asked if "me/private" in path}
    assert {sent for _, sent in asked} == {TOKEN}
    assert json.loads((tmp_path / "private" / "result.json").read_bytes())["state"] == "finished"
    provenance = json.loads((tmp_path / "private" / "adapter" / "provenance.json").read_bytes())
    assert provenance["spec"]["dataset"]["source"] == "me/private"
    assert "the filters leave out 1 that match" in (tmp_path / "private" / "worker.log").read_text()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"worker.log", "spec.json", "result.json"} <= {path.name for path in written}
    holding = [path for path in written if TOKEN.encode() in path.read_bytes()]
    assert holding == []
    assert not any(TOKEN in text for text in said)
