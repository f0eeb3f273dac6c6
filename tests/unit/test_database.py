"""The databases of runs and votes: files of before versions, of later programs, half migrated."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from lora_engine.compare.votes.vote_store import Choice, Contestant, Side, VoteStore
from lora_engine.database import Database, columns_of
from lora_engine.errors import EngineError
from lora_engine.runs import store as run_store
from lora_engine.runs.states import RunState
from lora_engine.runs.store import MIGRATIONS, RunStore
from lora_engine.spec import RunSpec

# What the programs before versions executed, as they had it.
FIRST_RUNS = """
CREATE TABLE IF NOT EXISTS runs (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    name        TEXT NOT NULL,
    state       TEXT NOT NULL,
    spec        TEXT NOT NULL,
    resume      INTEGER NOT NULL DEFAULT 0,
    created_at  REAL NOT NULL,
    started_at  REAL,
    ended_at    REAL,
    device      TEXT
);
CREATE INDEX IF NOT EXISTS runs_by_state ON runs (state, number);
"""
LATER_RUNS = """
ALTER TABLE runs ADD COLUMN place REAL NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
"""
FIRST_BALLOTS = """
CREATE TABLE IF NOT EXISTS ballots (
    id           TEXT PRIMARY KEY,
    base         TEXT NOT NULL,
    prompt_set   TEXT NOT NULL,
    prompt       TEXT NOT NULL,
    left_id      TEXT NOT NULL,
    left_name    TEXT NOT NULL,
    left_answer  TEXT NOT NULL,
    right_id     TEXT NOT NULL,
    right_name   TEXT NOT NULL,
    right_answer TEXT NOT NULL,
    choice       TEXT,
    created_at   REAL NOT NULL,
    voted_at     REAL
);
CREATE INDEX IF NOT EXISTS ballots_by_base ON ballots (base, prompt_set);
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


def written_before(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as old:
        old.execute("PRAGMA journal_mode=WAL")
        old.executescript(script)


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as reader:
        return reader.execute("PRAGMA user_version").fetchone()[0]


def runs_of_before() -> str:
    rows = "".join(
        f"INSERT INTO runs (id, name, state, spec, created_at) "
        f"VALUES ('{name}', '{name}', 'queued', '{RunSpec().model_dump_json()}', 1);"
        for name in "ab"
    )
    return FIRST_RUNS + rows


@pytest.mark.parametrize("later", ["", LATER_RUNS + "UPDATE runs SET place = 3 - number;"])
def test_a_list_of_runs_of_before_versions_keeps_its_rows_and_its_queue(path, later):
    written_before(path, runs_of_before() + later)
    expected = ["b", "a"] if later else ["a", "b"]
    for _ in range(2):
        assert [record.id for record in RunStore(path).queue()] == expected
    assert version_of(path) == len(run_store.MIGRATIONS)
    assert RunStore(path).add("c", RunSpec()).state is RunState.QUEUED
    assert [record.id for record in RunStore(path).queue()] == [*expected, "c"]


def test_votes_of_before_versions_are_kept(path):
    side = "'base', 'Base', 'Yes.'"
    written_before(
        path,
        f"{FIRST_BALLOTS} INSERT INTO ballots "
        f"VALUES ('x', 'print', 'set', 'Why?', {side}, {side}, 'tie', 1, 2);",
    )
    store, base = VoteStore(path), Side(Contestant("base", "Base"), "Yes.")
    assert version_of(path) == 2
    (ballot,) = store.voted("print")
    assert (ballot.left, ballot.choice) == (base, Choice.TIE)
    store.vote(store.add("print", "set", "How?", base, base), Choice.LEFT)
    assert len(VoteStore(path).voted("print")) == 2


@pytest.mark.parametrize("store", [RunStore, VoteStore])
def test_a_file_of_a_later_program_is_refused_and_left_alone(path, store):
    store(path)
    crashed = path.with_name("crashed.db")  # its newest pages are not in the file itself yet
    parts = [crashed, crashed.with_name("crashed.db-wal")]
    with closing(sqlite3.connect(path)) as later:
        later.execute("PRAGMA user_version = 999")
        later.execute("CREATE TABLE of_later (x)")
        later.commit()
        for part in parts:
            shutil.copy(part.with_name(part.name.replace("crashed", "some")), part)
    for file, written in ((path, [path]), (crashed, parts)):
        before = [part.read_bytes() for part in written]
        assert all(before)
        with pytest.raises(EngineError, match=rf"{file.name}.* 999.* \d") as caught:
            store(file)
        assert [part.read_bytes() for part in written] == before
        assert "later" in caught.value.remedy


DIES = """
import os, signal, sys
from pathlib import Path
from lora_engine.runs import store

def dies(connection):
    connection.execute("ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT ''")
    connection.execute("UPDATE runs SET name = 'torn'")
    os.kill(os.getpid(), signal.SIGKILL)

store.MIGRATIONS = (store.create_runs, dies)
store.RunStore(Path(sys.argv[1]))
"""


def test_a_migration_that_a_kill_tore_is_done_again_from_its_beginning(path):
    written_before(path, runs_of_before())
    killed = subprocess.run([sys.executable, "-c", DIES, path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert version_of(path) == 1
    queue = RunStore(path).queue()
    assert [(record.id, record.name, record.note) for record in queue] == [
        ("a", "a", ""),
        ("b", "b", ""),
    ]
    assert version_of(path) == len(MIGRATIONS)


def test_a_migration_that_raises_changes_nothing(path):
    def create(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE things (a)")

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE things ADD COLUMN b")
        connection.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(EngineError, match="list of things.*nowhere"):
        Database(path, "list of things", (create, fail), "Look.")
    assert version_of(path) == 1
    with Database(path, "list of things", (create,), "Look.").connect() as connection:
        assert columns_of(connection, "things") == {"a"}


OPENS = """
import sys
from pathlib import Path
from lora_engine.compare.votes.vote_store import VoteStore
from lora_engine.runs.store import RunStore

print("ready", flush=True)
sys.stdin.readline()
RunStore(Path(sys.argv[1]))
VoteStore(Path(sys.argv[2]))
"""


@pytest.mark.parametrize("prepare", [lambda _: None, lambda p: written_before(p, FIRST_RUNS)])
def test_processes_that_open_one_file_at_once_migrate_it_once(
    tmp_path: Path, prepare: Callable[[Path], None]
):
    runs, votes = tmp_path / "runs.db", tmp_path / "votes.db"
    prepare(runs)
    command = [sys.executable, "-c", OPENS, runs, votes]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in started:
        process.stdout.readline()
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        process.communicate(timeout=30)
    assert [process.returncode for process in started] == [0] * 4
    assert (version_of(runs), version_of(votes)) == (len(MIGRATIONS), 2)
    assert RunStore(runs).add("a", RunSpec()).state is RunState.QUEUED
