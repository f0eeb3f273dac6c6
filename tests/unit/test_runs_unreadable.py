"""A run that this program cannot read whole is shown as that, and hides none of the others."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing

import pytest
from typer.testing import CliRunner

from lora_engine.__main__ import build
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.run_folder import RunDirectory, read_samples
from lora_engine.runs import supervisor
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunStore
from lora_engine.spec import RunSpec
from lora_engine.training.memory.prediction import read_records
from pages.runs import run_summary, run_table

LATER_SPEC = json.dumps({**RunSpec().model_dump(mode="json"), "of_later": True})
LATER_RESULT = json.dumps({"state": "evaporated"})


@pytest.fixture
def engine(settings, monkeypatch) -> Engine:
    """Runs `sound`, `spec` and `result`, the last two with a spec and a result of later."""
    monkeypatch.setattr(supervisor, "list_devices", lambda _: [])
    store = RunStore(settings.database_path)
    for run_id in ("sound", "spec", "result"):
        RunDirectory(settings.runs_dir / run_id).create(RunSpec())
        store.add(run_id, RunSpec(name=f"the {run_id}"))
        store.move(run_id, [RunState.QUEUED], RunState.CANCELLED)
    (settings.runs_dir / "result" / "result.json").write_text(LATER_RESULT)
    with closing(sqlite3.connect(settings.database_path)) as later:
        later.execute("UPDATE runs SET spec = ? WHERE id = 'spec'", (LATER_SPEC,))
        later.commit()
    return Engine(settings)


def test_the_list_shows_them_all_and_says_what_cannot_be_read(engine):
    result, spec, sound = engine.runs.list()
    assert (sound.id, sound.problem) == ("sound", None)
    assert "of_later" in spec.problem
    assert "result.json" in result.problem
    assert result.record.spec == RunSpec(name="the result")
    assert engine.runs.annotate("spec", "kept", []).record.note == "kept"
    for asked in (
        engine.runs.resume,
        lambda run_id: engine.runs.get(run_id).record.readable_spec(),
    ):
        with pytest.raises(EngineError, match="of_later"):
            asked("spec")


def test_the_pages_draw_them(engine):
    views = engine.runs.list()
    assert [view.id for view in run_table.matching(views, "the", [])] == [v.id for v in views]
    assert "spec" in run_table.value(views, list(run_table.DEFAULT))
    assert "of_later" in run_summary.heading(engine, engine.runs.get("spec"))


@pytest.mark.parametrize("command", [["runs"], ["show", "spec"]])
def test_the_command_line_prints_them(engine, settings, monkeypatch, command):
    monkeypatch.setenv("LORA_DATA_DIR", str(settings.data_dir))
    done = CliRunner().invoke(build(), [*command, "--json"])
    assert done.exit_code == 0
    assert "of_later" in done.stdout
    done = CliRunner().invoke(build(), command)
    assert (done.exit_code, "of_later" in done.stderr) == (0, True)


def test_a_worker_that_is_gone_with_an_unreadable_result_was_interrupted(engine, settings):
    store = RunStore(settings.database_path)
    store.requeue(["result"])
    store.claim(["result"], "cpu")
    engine.runs.refresh()
    assert engine.runs.get("result").record.state is RunState.INTERRUPTED


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "samples.jsonl", "prediction.json", "worker.log"]
)
@pytest.mark.parametrize("kind", ["folder", "pipe", "endless", "loop"])
def test_what_is_no_file_says_nothing_and_hides_no_other(engine, settings, name, kind):
    path = settings.runs_dir / "sound" / name
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "endless" else path.name)
    assert len(engine.runs.list()) == 3
    assert engine.runs.metrics("sound") == engine.runs.curve("sound") == []
    assert engine.runs.log_tail("sound") == ""
    assert read_samples(RunDirectory(path.parent)) == []
    assert read_records(settings.runs_dir) == []
    engine.runs.delete("sound")
    assert not path.parent.exists()


def test_a_run_whose_lock_cannot_be_asked_is_not_deleted(engine, settings):
    lock = settings.runs_dir / "sound" / "lock"
    lock.mkdir()
    with pytest.raises(EngineError, match="lock"):
        engine.runs.delete("sound")
    assert lock.exists()
    assert len(engine.runs.list()) == 3


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("state", "evaporated"), ("tags", "garbage"), ("tags", "[" * 100_000), ("tags", "5"),
        ("created_at", "soon"), ("started_at", "soon"), ("spec", "[" * 100_000),
        ("spec", b"\xff\xfe"),
    ],
)  # fmt: skip
def test_one_bad_row_says_why_and_hides_no_other(engine, settings, column, value):
    with closing(sqlite3.connect(settings.database_path)) as later:
        later.execute(f"UPDATE runs SET {column} = CAST(? AS TEXT) WHERE id = 'sound'", (value,))
        later.commit()
    views = {view.id: view for view in engine.runs.list()}
    assert set(views) == {"sound", "spec", "result"}
    assert column in views["sound"].problem
    drawn = run_table.value(list(views.values()), list(run_table.DEFAULT))
    assert "the result" in drawn
    engine.runs.refresh()


def test_a_name_in_bytes_that_are_no_text_is_shown_all_the_same(engine, settings):
    with closing(sqlite3.connect(settings.database_path)) as later:
        later.execute("UPDATE runs SET name = CAST(? AS TEXT) WHERE id = 'sound'", (b"a\xff",))
        later.commit()
    assert engine.runs.get("sound").record.name == "a\ufffd"
