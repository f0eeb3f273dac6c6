"""What lies in a Ray storage for several runs: kept while one refers to it, and gone afterwards."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from lora_engine.engine import Engine
from lora_engine.environment import load_settings
from lora_engine.errors import EngineError
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launchers.ray import forgetting, shared_content
from lora_engine.runs.launchers.ray.apart import Here
from lora_engine.runs.launchers.ray.shared_content import forget_run, sweep
from lora_engine.runs.launchers.ray.storage import Storage, StorageTrouble
from lora_engine.runs.launchers.ray.tenancy import Tenancy, write_tenancy
from lora_engine.runs.store import RunStore
from lora_engine.spec import RunSpec
from tests.training_runs import tiny_spec

YESTERDAY = timedelta(hours=25)


@pytest.fixture(params=["local", "memory"])
def storage(request, tmp_path) -> Storage:
    if request.param == "local":
        return Storage(LocalFileSystem(auto_mkdir=True), str(tmp_path / "storage"), "file:///x")
    filesystem = MemoryFileSystem()
    filesystem.store.clear()  # it is one for the whole process
    return Storage(filesystem, "/storage", "memory:///storage")


@pytest.fixture
def aged(storage, monkeypatch) -> None:
    """All content is older than a day; what is written otherwise is new."""

    def modified(self, name: str) -> datetime:
        return datetime.now(UTC) - (YESTERDAY if name.startswith("content/") else timedelta())

    monkeypatch.setattr(Storage, "modified", modified)


@pytest.fixture
def brought(storage, settings, tiny_llama, tmp_path):
    """Sends what a run needs: a base that all share, and a set of its own."""

    def bring(run: str) -> Here:
        rows = tmp_path / f"{run}.jsonl"
        rows.write_text(json.dumps({"prompt": run, "completion": "b"}) + "\n", "utf-8")
        directory = RunDirectory(settings.runs_dir / run)
        directory.create(tiny_spec(tiny_llama, rows))
        here = Here(directory, storage, 1, settings)
        here.write_token(1)
        here.bring(resume=False, between=lambda: None)
        return here

    return bring


def content(storage: Storage) -> set[str]:
    return set(storage.names("content"))


def test_what_only_a_deleted_run_used_goes_and_what_another_uses_stays(storage, brought, aged):
    brought("one")
    of_one = content(storage)
    brought("two").clear()  # it is over, and may still be resumed
    of_both = content(storage)
    assert len(of_both - of_one) == 1
    assert sweep(storage) == 0
    forget_run(storage, "one")
    assert sweep(storage) == 1  # its set
    assert of_both - of_one <= content(storage) < of_both
    forget_run(storage, "two")
    sweep(storage)
    assert content(storage) == set()
    assert storage.names("lists") == storage.names("sweeps") == []


def test_a_name_that_begins_alike_is_another_run(storage, brought, aged):
    brought("one")
    brought("one-2")
    forget_run(storage, "one")
    sweep(storage)
    assert storage.names("lists") == ["one-2-1.json"]
    assert content(storage)


def test_content_of_today_is_spared(storage, brought):
    brought("one")
    kept = content(storage)
    forget_run(storage, "one")
    assert sweep(storage) == 0
    assert content(storage) == kept


def test_a_storage_that_tells_no_time_keeps_everything(storage, brought, monkeypatch):
    brought("one")
    kept = content(storage)
    forget_run(storage, "one")
    monkeypatch.setattr(Storage, "modified", lambda self, name: None)
    assert sweep(storage) == 0
    assert content(storage) == kept


def test_the_checkpoints_of_a_run_that_is_over_are_listed_no_more(storage, brought, aged):
    here = brought("one")
    before = content(storage)
    folder = here._directory.checkpoints_path / "step-2"
    folder.mkdir(parents=True)
    (folder / "trained.safetensors").write_bytes(b"numbers")
    (folder / "manifest.json").write_text("{}")
    here.bring(resume=True, between=lambda: None)
    assert sweep(storage) == 0
    here.clear()
    assert sweep(storage) == 2
    assert content(storage) == before


def test_a_list_that_cannot_be_read_lets_nothing_go(storage, brought, aged, monkeypatch):
    brought("one")
    brought("two")
    forget_run(storage, "one")
    kept, read = content(storage), Storage.read

    def lost(self, name: str, *rest):
        if name.startswith("lists/"):
            raise StorageTrouble("It is away.", "Wait.")
        return read(self, name, *rest)

    monkeypatch.setattr(Storage, "read", lost)
    with pytest.raises(StorageTrouble):
        sweep(storage)
    assert content(storage) == kept


def test_a_list_that_comes_while_another_dashboard_sweeps_is_seen(
    storage, brought, aged, monkeypatch
):
    """It reads the lists, and only then says that it sweeps: a run comes between."""
    brought("one")
    forget_run(storage, "one")
    kept, write = content(storage), Storage.write

    def write_late(self, name: str, said: bytes) -> None:
        if name.startswith("sweeps/"):
            monkeypatch.setattr(Storage, "write", write)
            brought("one")
        write(self, name, said)

    monkeypatch.setattr(Storage, "write", write_late)
    assert sweep(storage) == 0
    assert content(storage) == kept


def test_who_sends_waits_for_who_sweeps_and_not_for_one_that_was_killed(
    storage, brought, aged, monkeypatch
):
    brought("one")
    forget_run(storage, "one")
    monkeypatch.setattr(shared_content, "LOOK_S", 0.0)
    storage.write("sweeps/of-another", b"sweeping")
    waited = []

    def swept_meanwhile(self, name: str) -> list[str]:
        found = names(self, name)
        if name == "sweeps":
            waited.append(found)
            if len(waited) == 3:
                assert sweep(self)  # the list of this run lies there, of the other none
                self.remove("sweeps/of-another")
        return found

    names = Storage.names
    monkeypatch.setattr(Storage, "names", swept_meanwhile)
    brought("two")
    assert len(waited) == 4
    monkeypatch.setattr(shared_content, "WAITS_FOR_S", 0.0)
    storage.write("sweeps/of-a-killed", b"sweeping")
    brought("three")
    assert storage.names("sweeps") == []
    listed = {p for one in ("two", "three") for p in hashes(storage, one)}
    assert listed <= content(storage)


def hashes(storage: Storage, run: str) -> set[str]:
    found = shared_content.HASH.findall(storage.read(f"lists/{run}-1.json"))
    return {one.decode() for one in found}


class Process:
    """A process as a call in this one."""

    pid = 0

    def __init__(self, words: list[str], env: dict[str, str], **_) -> None:
        assert words[-1] == forgetting.__name__
        forgetting.forget(load_settings(env))

    def wait(self) -> int:
        return 0


def test_a_run_that_is_deleted_is_forgotten_by_its_storage(settings, tmp_path, monkeypatch):
    """A storage that does not open is asked again with the next."""
    monkeypatch.setattr("lora_engine.runs.launchers.ray.launcher.subprocess.Popen", Process)
    settings.data_dir.mkdir()
    there, away = tmp_path / "storage", tmp_path / "away"
    store = RunStore(settings.database_path)
    for run, lies_in in (("one", f"s3x://{away}"), ("two", f"file://{there}")):
        directory = RunDirectory(settings.runs_dir / run)
        directory.create(RunSpec())
        store.add(run, RunSpec())
        store.cancel(run)
        write_tenancy(directory, Tenancy(token=2, storage=lies_in))
    for name in ("runs/two/2/index.json", "lists/two-1.json", "lists/other-1.json"):
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_text("{}", "utf-8")
    engine = Engine(settings)
    notes = settings.data_dir / forgetting.NOTES
    for run in ("one", "two"):
        engine.runs.delete(run)
        assert [path.name for path in notes.iterdir()] == ["one"]
    assert [path.name for path in (there / "lists").iterdir()] == ["other-1.json"]
    assert not (there / "runs/two").exists()


def test_a_file_that_changes_while_it_is_sent_starts_no_job(
    storage, brought, monkeypatch, tmp_path
):
    def changed_meanwhile(*_) -> None:
        (tmp_path / "one.jsonl").write_text("other", "utf-8")

    monkeypatch.setattr("lora_engine.runs.launchers.ray.brought.wait_for_sweeps", changed_meanwhile)
    with pytest.raises(EngineError, match="one.jsonl"):
        brought("one")
