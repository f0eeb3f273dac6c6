"""What belongs to a person: lists show it to them and to who manages, and to nobody else."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from lora_engine.access import (
    LOCAL,
    Person,
    acting_as,
    forget_owner,
    is_mine,
    keep_owner,
    owner_of,
    typed_path,
)
from lora_engine.adapters.library import AdapterLibrary, resolve_adapter
from lora_engine.base_models import resolve_base_model
from lora_engine.compare.sessions.session_store import SessionStore
from lora_engine.compare.votes.vote_store import Choice, Contestant, Side, VoteStore
from lora_engine.data.sources import load_dataset
from lora_engine.data.uploads import delete_upload, list_uploads, save_upload
from lora_engine.engine import Engine
from lora_engine.errors import EngineError, NotFound
from lora_engine.export.written import WrittenExports
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunStore
from lora_engine.runs.submission import queue_runs
from lora_engine.settings import Settings
from lora_engine.spec import DatasetSpec, RunSpec
from lora_engine.starter import ADAPTERS_DIR

ANNA, BEN = Person("anna", "run", "10.0.0.1"), Person("ben", "run", "10.0.0.2")
CARLA = Person("carla", "manage", "10.0.0.3")
SPEC = {"name": "r", "base_model": "starter", "dataset": {"source": "starter:pirate"}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    data = tmp_path.resolve() / "data"
    (data / "models").mkdir(parents=True)
    return Settings(data_dir=data, models_dir=data / "models", device="cpu")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}\n' * 3)
    return file


def queued(engine: Engine, run_id: str) -> None:
    """A run of the person who acts, that no supervisor starts."""
    queue_runs({run_id: RunSpec.model_validate(SPEC)}, engine.runs._store, engine.settings)


def test_a_record_beside_a_thing_says_whose_it_is(tmp_path: Path) -> None:
    thing = tmp_path / "thing"
    assert owner_of(thing) == LOCAL.name
    with acting_as(ANNA):
        keep_owner(thing)
        assert is_mine(thing)
    with acting_as(BEN):
        assert not is_mine(thing)
    with acting_as(CARLA):
        assert is_mine(thing)
    forget_owner(thing)
    assert owner_of(thing) == LOCAL.name
    assert not list(tmp_path.iterdir())


def test_without_a_login_nothing_is_written_beside(settings: Settings, rows: Path) -> None:
    save_upload(rows, "rows.jsonl", settings)
    queued(Engine(settings), "one")
    assert not list(settings.data_dir.rglob("*.owner"))


def test_runs_are_their_owners(settings: Settings) -> None:
    engine = Engine(settings)
    queued(engine, "of-local")
    for person in (ANNA, BEN):
        with acting_as(person):
            queued(engine, f"of-{person.name}")
    with acting_as(BEN):
        assert [view.id for view in engine.runs.list()] == ["of-ben"]
        assert engine.runs.queue() == ["of-ben"]
        with pytest.raises(NotFound) as unknown:
            engine.runs.get("of-nobody")
        for run_id in ("of-anna", "of-local"):
            for use in (
                engine.runs.get, engine.runs.directory, engine.runs.cancel, engine.runs.pause,
                engine.runs.resume, engine.runs.delete, engine.runs.metrics, engine.runs.log_tail,
                engine.runs.files, engine.runs.shell_command, engine.runs.curve,
            ):  # fmt: skip
                with pytest.raises(NotFound) as refused:
                    use(run_id)
                told = refused.value.problem.replace(run_id, "of-nobody")
                assert told == unknown.value.problem
    with acting_as(CARLA):
        found = {view.id: view.record.owner for view in engine.runs.list()}
    assert found == {"of-local": "local", "of-anna": "anna", "of-ben": "ben"}
    states = {record.id: record.state for record in engine.runs._store.list()}
    assert set(states.values()) == {RunState.QUEUED}  # nobody cancelled another's


def test_sweeps_are_their_owners(settings: Settings) -> None:
    engine = Engine(settings)
    with acting_as(ANNA):
        (settings.sweeps_dir / "s").mkdir(parents=True)
        keep_owner(settings.sweeps_dir / "s")
        spec = RunSpec.model_validate(SPEC)
        queue_runs({"one": spec}, engine.runs._store, settings, "s")
        assert [view.id for view in engine.sweeps.list()] == ["s"]
    with acting_as(BEN):
        assert engine.sweeps.list() == []
        for use in (engine.sweeps.get, engine.sweeps.cancel, engine.sweeps.delete):
            with pytest.raises(NotFound):
                use("s")


def test_runs_of_an_older_list_are_the_local_persons(settings: Settings) -> None:
    RunStore(settings.database_path).add("old", RunSpec.model_validate(SPEC))
    with sqlite3.connect(settings.database_path) as connection:  # as version 3 left it
        connection.execute("ALTER TABLE runs DROP COLUMN owner")
        connection.execute("PRAGMA user_version = 3")
    connection.close()
    store = RunStore(settings.database_path)
    assert store.get("old").owner == LOCAL.name
    with acting_as(ANNA):
        assert store.list() == []
        assert store.add("new", RunSpec.model_validate(SPEC)).owner == "anna"


def test_uploads_are_their_owners(settings: Settings, rows: Path) -> None:
    with acting_as(ANNA):
        hers = save_upload(rows, "rows.jsonl", settings).name
        assert [one.name for one in list_uploads(settings)] == [hers]
        assert len(load_dataset(DatasetSpec(source=hers), settings).rows) == 3
    with acting_as(BEN):
        assert list_uploads(settings) == []
        for source in (hers, str(settings.datasets_dir / hers)):
            with pytest.raises(EngineError):
                load_dataset(DatasetSpec(source=source), settings)
        with pytest.raises(NotFound):
            delete_upload(hers, settings)
        his = save_upload(rows, "rows.jsonl", settings).name  # the same rows are not hers
        delete_upload(his, settings)
    with acting_as(ANNA):
        assert [one.name for one in list_uploads(settings)] == [hers]
        delete_upload(hers, settings)
    assert not list(settings.datasets_dir.iterdir())


def test_adapters_are_their_owners(settings: Settings) -> None:
    library = AdapterLibrary(settings)
    bundled = next(ADAPTERS_DIR.glob("*/adapter_config.json")).parent
    with acting_as(ANNA):
        hers = library.add(str(bundled), "hers")
        assert [one.name for one in library.list()] == [
            "hers",
            *[o.name for o in library.list()][1:],
        ]
    with acting_as(BEN):
        assert [one.bundled for one in library.list()] == [True]
        for name in ("hers", str(hers.path)):
            with pytest.raises(EngineError):
                resolve_adapter(name, settings)
            with pytest.raises(EngineError):
                library.delete(name)
    with acting_as(ANNA):
        library.delete("hers")
    assert not list((settings.data_dir / "adapters").iterdir())


def test_exports_are_their_owners(settings: Settings) -> None:
    exports = WrittenExports(settings)
    with acting_as(ANNA):
        exports.folder("hers").mkdir(parents=True)
        keep_owner(exports.folder("hers"))
        assert [one.name for one in exports.list()] == ["hers"]
    with acting_as(BEN):
        assert exports.list() == []
        with pytest.raises(NotFound):
            next(exports.zip_blocks("hers"))
        with pytest.raises(NotFound):
            exports.delete("hers")


def test_votes_are_their_owners(settings: Settings) -> None:
    votes = VoteStore(settings.data_dir / "votes.db")
    sides = [Side(Contestant(name, name), "text") for name in ("base", "other")]
    with acting_as(ANNA):
        ballot = votes.add("b", "s", "p", *sides)
    with acting_as(BEN), pytest.raises(NotFound):
        votes.vote(ballot, Choice.LEFT)
    with acting_as(ANNA):
        votes.vote(ballot, Choice.RIGHT)
        assert [one.choice for one in votes.voted("b")] == [Choice.RIGHT]
    with acting_as(BEN):
        assert votes.voted("b") == []
    with acting_as(CARLA):
        assert len(votes.voted("b")) == 1


def test_votes_of_an_older_list_are_the_local_persons(settings: Settings) -> None:
    path = settings.data_dir / "votes.db"
    sides = [Side(Contestant(name, name), "text") for name in ("base", "other")]
    ballot = VoteStore(path).add("b", "s", "p", *sides)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE ballots DROP COLUMN owner")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    votes = VoteStore(path)
    with acting_as(ANNA), pytest.raises(NotFound):
        votes.vote(ballot, Choice.LEFT)
    votes.vote(ballot, Choice.LEFT)


def test_kept_comparisons_are_their_owners(settings: Settings) -> None:
    from lora_engine.compare.sessions.session import Session, SessionColumn

    sessions = SessionStore(settings.data_dir / "sessions")
    with acting_as(ANNA):
        kept = sessions.save(
            Session(
                base="starter",
                base_fingerprint="f",
                columns=(SessionColumn(name="base", title="base", turns=()),),
            )
        )
        sessions.load(kept.id)
    with acting_as(BEN):
        with pytest.raises(NotFound):
            sessions.load(kept.id)
    with acting_as(CARLA):
        sessions.load(kept.id)


@pytest.mark.parametrize("inside", ["rankscope.log", "runs.db", "runs", "datasets/x.jsonl", ""])
def test_the_data_folder_itself_is_not_open_to_people(settings: Settings, inside: str) -> None:
    (settings.data_dir / "datasets").mkdir()
    (settings.data_dir / "datasets/x.jsonl").touch()
    path = settings.data_dir / inside
    with acting_as(ANNA), pytest.raises(EngineError):
        typed_path(path, settings)
    with acting_as(CARLA):
        assert typed_path(path, settings) == path


def test_paths_stay_in_the_allowed_roots(settings: Settings, tmp_path: Path) -> None:
    outside = tmp_path.resolve() / "outside"
    outside.mkdir()
    (outside / "secret.jsonl").write_text("{}")
    (settings.models_dir / "link").symlink_to(outside)
    (settings.models_dir / "mine").mkdir()
    told = set()
    with acting_as(CARLA):
        for text in (
            str(outside / "secret.jsonl"),
            str(outside / "missing.json"),
            f"{settings.models_dir}/link/secret.jsonl",
            f"{settings.models_dir}/../../outside/secret.jsonl",
            "~/.ssh",
            "/etc/passwd",
        ):
            with pytest.raises(EngineError) as refused:
                typed_path(text, settings)
            told.add(refused.value.problem.replace(repr(text[:100]), ""))
        assert len(told) == 1  # nothing of what is there
        assert typed_path(settings.models_dir / "mine", settings).is_dir()
        assert not typed_path("../outside/secret.jsonl", settings).exists()  # relative: nowhere
        for use in (
            lambda: resolve_base_model(str(outside), settings),
            lambda: resolve_base_model("../../outside", settings),
            lambda: resolve_adapter(str(outside), settings),
            lambda: load_dataset(DatasetSpec(source=str(outside / "secret.jsonl")), settings),
        ):
            with pytest.raises(EngineError):
                use()
        assert resolve_base_model("organization/model", settings).path is None
    rooted = settings.model_copy(update={"allowed_roots": (outside,)})
    with acting_as(ANNA):
        assert typed_path(outside / "secret.jsonl", rooted).is_file()
        with pytest.raises(EngineError):
            typed_path(settings.models_dir / "mine", rooted)
    assert typed_path("/etc/passwd", settings) == Path("/etc/passwd")  # who sits here
