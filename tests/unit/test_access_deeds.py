"""What changes something asks for the role of whoever acts, and is written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lora_engine.access import Forbidden, Person, acting_as
from lora_engine.data import delete_upload, save_upload
from lora_engine.engine import Engine
from lora_engine.environment import load_settings
from lora_engine.errors import EngineError
from lora_engine.settings import Settings
from lora_engine.spec import recipe_spec, sweep_over

BEN = Person("ben", "see", "10.0.0.2")
ANNA = Person("anna", "run", "10.0.0.1")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"LORA_DATA_DIR": str(tmp_path)})


def _log(settings: Settings) -> list[tuple[str, str, str]]:
    lines = (settings.data_dir / "audit.jsonl").read_text().splitlines()
    said = [json.loads(line) for line in lines]
    return [(line["person"], line["action"], line["object"]) for line in said]


def test_who_may_only_look_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    engine = Engine(settings)
    runs, sweeps, library = engine.runs, engine.sweeps, engine.adapters
    target: Any = None
    operations, out = engine.adapter_operations, tmp_path / "out"
    spec = recipe_spec("pirate")
    deeds = [
        lambda: runs.submit(spec), lambda: runs.cancel("x"), lambda: runs.pause("x"),
        lambda: runs.resume("x"), lambda: runs.extend("x", steps=1), lambda: runs.delete("x"),
        lambda: runs.annotate("x", "note", []), lambda: runs.move_in_queue("x", 1),
        lambda: sweeps.submit(sweep_over(spec, ranks=[2, 4])), lambda: sweeps.cancel("x"),
        lambda: sweeps.pause("x"), lambda: sweeps.resume("x"), lambda: sweeps.delete("x"),
        lambda: engine.methods.submit(spec),
        lambda: library.add("x"), lambda: library.add_upload(out, "x.zip"),
        lambda: library.annotate("x", "note", []), lambda: library.delete("x"),
        lambda: operations.resize("x", out, target), lambda: operations.combine([], out),
        lambda: operations.combine_trial([], "x"), lambda: operations.merge("x", out),
        lambda: operations.extract("x", "y", out, target),
        lambda: engine.exports.export("x", out, "adapter"),
        lambda: engine.datasets.save_cleaned(spec, []),
        lambda: save_upload(out, "x.jsonl", settings), lambda: delete_upload("x", settings),
        lambda: engine.exports.written.delete("x"),
        lambda: engine.compare.model("starter", []), lambda: engine.compare.sessions.save(target),
        lambda: engine.compare.votes.vote("x", target),
    ]  # fmt: skip
    for do in deeds:
        with acting_as(BEN), pytest.raises(Forbidden, match="ben"):
            do()
    assert not out.exists()
    assert runs.list() == []
    refused = _log(settings)
    assert {person for person, _, _ in refused} == {"ben"}
    assert all(action.endswith("refused") for _, action, _ in refused)


def test_what_is_done_is_written_down_with_whom_and_what(settings: Settings, tmp_path) -> None:
    rows = tmp_path / "mine.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n' * 5)
    with acting_as(ANNA):
        name = save_upload(rows, "mine.jsonl", settings).name
        delete_upload(name, settings)
        with pytest.raises(EngineError):  # what does not happen is not written down as done
            delete_upload(name, settings)
    (uploaded, deleted) = _log(settings)
    assert uploaded[:2] == ("anna", "upload dataset")
    assert "mine.jsonl" in uploaded[2]
    assert deleted == ("anna", "delete dataset", name)
