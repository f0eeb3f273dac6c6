"""Both ends of a Ray job over a storage, in one process and without Ray."""

from __future__ import annotations

import errno
import shlex
import sys
import threading
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from lora_engine.errors import EngineError, InvalidInput
from lora_engine.run_folder import RunDirectory, RunProblem, RunResult
from lora_engine.runs.launchers import refuse_unconfigured
from lora_engine.runs.launchers.ray import job
from lora_engine.runs.launchers.ray.apart import Fenced, Here, There
from lora_engine.runs.launchers.ray.client import Job
from lora_engine.runs.launchers.ray.returned import Index
from lora_engine.runs.launchers.ray.storage import (
    PIECE_BYTES,
    Storage,
    StorageTrouble,
    StoredFile,
    open_storage,
)
from lora_engine.runs.launchers.ray.tenancy import Tenancy, read_tenancy
from lora_engine.runs.launchers.ray.watch import Watch
from lora_engine.settings import load_settings
from lora_engine.spec import ExtensionSpec, RunSpec
from lora_engine.training.checkpointing.checkpoints import identity_of_step
from lora_engine.training.checkpointing.identity import spec_hash
from tests.training_runs import losses, tiny_spec, train_here

ENDED = RunResult.failed(RunProblem(problem="The rows are empty.", remedy="Give others."))


class FullDisk(LocalFileSystem):
    """Takes so many more files, and then says that there is no room."""

    cachable = False

    def __init__(self) -> None:
        super().__init__(auto_mkdir=True)
        self.left = 1_000_000

    def pipe_file(self, path, value, **_):
        if self.left == 0:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        self.left -= 1
        super().pipe_file(path, value)


@pytest.fixture
def disk() -> FullDisk:
    return FullDisk()


@pytest.fixture
def storage(disk, tmp_path) -> Storage:
    return Storage(disk, str(tmp_path / "storage"), "file:///storage")


@pytest.fixture
def spec(tmp_path, rows_file, tiny_llama) -> RunSpec:
    return tiny_spec(tiny_llama, rows_file, optimization={"save_every": 2})


@pytest.fixture
def here(spec, settings, storage) -> Here:
    """A run whose job 1 may begin."""
    directory = RunDirectory(settings.runs_dir / "a-run")
    directory.create(spec)
    end = Here(directory, storage, 1, settings)
    end.write_token(1)
    end.bring(resume=False)
    return end


@pytest.fixture
def local(settings) -> RunDirectory:
    return RunDirectory(settings.runs_dir / "a-run")


@pytest.fixture
def there(here, storage, tmp_path) -> There:
    end = There(storage, "a-run", 1, tmp_path / "node")
    end.begin()
    return end


def write_checkpoint(directory: RunDirectory, step: int, content: bytes) -> None:
    folder = directory.checkpoints_path / f"step-{step}"
    folder.mkdir(parents=True)
    (folder / "trained.safetensors").write_bytes(content)
    (folder / "manifest.json").write_text(
        '{"identity": {"spec_hash": "", "data_hash": "", "base_fingerprint": ""}, "files": {}}'
    )


def steps(directory: RunDirectory) -> set[str]:
    return {path.parent.name for path in directory.checkpoints_path.glob("step-*/manifest.json")}


def test_the_node_has_copies_and_names_them_by_its_own_paths(there, spec, tiny_llama, tmp_path):
    found = there.directory.spec()
    assert found.base_model.startswith(str(tmp_path / "node"))
    assert found.dataset.source.startswith(str(tmp_path / "node"))
    assert (tmp_path / "node" / "inputs").is_dir()
    for file in tiny_llama.iterdir():
        copy = there.directory.path.joinpath(found.base_model, file.name)
        assert copy.read_bytes() == file.read_bytes()


def test_content_is_sent_once(here, storage, tmp_path, disk):
    disk.left = 1  # for the list alone
    here.bring(resume=False)
    assert disk.left == 0


def test_what_the_job_writes_comes_here_and_the_result_last(there, here, local, disk):
    there.directory.metrics_path.write_text('{"a": 1}\n')
    there.directory.log_path.write_text("one\n")
    local.log_path.write_text("of here\n")
    write_checkpoint(there.directory, 2, b"x" * (PIECE_BYTES + 5))
    there.give()
    here.take()
    assert local.metrics_path.read_text() == '{"a": 1}\n'
    taken = local.checkpoints_path / "step-2" / "trained.safetensors"
    assert taken.stat().st_size == PIECE_BYTES + 5
    with there.directory.log_path.open("a") as log:
        log.write("two\n")
    write_checkpoint(there.directory, 4, b"y")
    there.directory.write_result(ENDED)
    (there.directory.checkpoints_path / "step-2" / "manifest.json").unlink()
    there.give()
    here.take()
    here.take()
    assert steps(local) == {"step-4"}
    assert local.log_path.read_text() == "of here\none\ntwo\n"
    assert local.result() == ENDED


@pytest.mark.parametrize("writes", range(3))
def test_a_storage_that_is_full_in_the_middle_leaves_what_was_whole(
    there, here, local, disk, writes
):
    write_checkpoint(there.directory, 2, b"old")
    there.give()
    write_checkpoint(there.directory, 4, b"new")
    there.directory.write_result(ENDED)
    disk.left = writes
    with pytest.raises(StorageTrouble, match="No space left"):
        there.give()
    here.take()
    assert steps(local) == {"step-2"}
    assert local.result() is None
    disk.left = 100
    there.give()
    here.take()
    assert steps(local) == {"step-2", "step-4"}
    assert local.result() is not None


def test_a_newer_token_and_a_removed_run_end_a_job(there, here, storage):
    there.beat()
    assert here.heartbeat().beat == 1
    again = There(storage, "a-run", 1, there.directory.path)
    here.write_token(2)
    with pytest.raises(Fenced):
        again.beat()
    here.write_token(1)
    again.beat()
    here.clear()
    with pytest.raises(Fenced):
        There(storage, "a-run", 1, there.directory.path).beat()


def test_a_stop_reaches_the_node(there, here):
    assert not there.directory.stop_requested()
    here.request_stop()
    there.exchange()
    assert there.directory.stop_requested()


def test_a_piece_that_was_changed_is_refused(there, here, local, tmp_path):
    there.directory.metrics_path.write_text('{"a": 1}\n')
    there.give()
    for piece in (tmp_path / "storage/runs/a-run/1/pieces").iterdir():
        piece.write_bytes(b"other")
    with pytest.raises(StorageTrouble):
        here.take()
    assert not local.metrics_path.exists()


@pytest.mark.parametrize("name", ["../spec.json", "/etc/x", "a/../../b", "a\\b", ""])
def test_a_name_that_leads_out_of_the_folder_is_refused(name, here, storage, local):
    wrong = Index.model_construct(files={name: StoredFile(pieces=())})
    storage.write("runs/a-run/1/index.json", wrong.model_dump_json().encode())
    with pytest.raises(StorageTrouble):
        here.take()


def test_more_than_the_limit_is_neither_sent_nor_taken(here, there, local, settings, storage):
    small = Here(local, storage, 1, settings.model_copy(update={"ray_storage_mb": 1}))
    write_checkpoint(there.directory, 2, b"x" * 1_000_001)
    there.give()
    with pytest.raises(EngineError) as error:
        small.take()
    assert "LORA_RAY_STORAGE_MB" in error.value.problem
    here.take()
    with pytest.raises(EngineError) as error:
        small.bring(resume=True)
    assert "LORA_RAY_STORAGE_MB" in error.value.problem


@pytest.mark.parametrize("url", ["nosuch", "s3://key:secret@bucket", "file://a::zip://b", "s3://"])
def test_a_url_of_another_form_is_refused_by_the_settings(url):
    with pytest.raises(InvalidInput) as error:
        load_settings({"LORA_RAY_STORAGE": url})
    assert error.value.problems[0].path == "LORA_RAY_STORAGE"


def test_a_storage_that_does_not_open_is_a_sentence_at_submission(settings, monkeypatch):
    ray = settings.model_copy(update={"ray_address": "http://127.0.0.1:9"})
    spec = RunSpec(launcher="ray")
    for url in ("nosuch://a", "memory://a"):
        with pytest.raises(EngineError) as error:
            refuse_unconfigured(spec, ray.model_copy(update={"ray_storage": url}))
        assert url in error.value.problem
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as where it is not installed
    with pytest.raises(EngineError) as error:
        refuse_unconfigured(spec, ray.model_copy(update={"ray_storage": "s3://bucket/a"}))
    assert "s3fs" in error.value.problem
    extended = spec.model_copy(update={"extended_from": ExtensionSpec(run="b", step=1, steps=2)})
    with pytest.raises(EngineError):
        refuse_unconfigured(extended, ray.model_copy(update={"ray_storage": "file:///tmp/a"}))


class RayOfThisProcess:
    """A cluster whose one job is done at once, by the node's end of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def version(self) -> str:
        return "2"

    def upload(self, name: str, content: bytes) -> str:
        return name

    def submit(self, name: str, entrypoint: str, *_) -> None:
        words = shlex.split(entrypoint)
        run, token, url = (
            words[words.index("--token") - 1],
            words[words.index("--token") + 1],
            words[words.index("--storage") + 1],
        )
        end = There(open_storage(url), Path(run).name, int(token), self._folder)
        end.begin()
        end.beat()
        end.directory.metrics_path.write_text('{"a": 1}\n')
        end.directory.write_result(ENDED)
        end.give()

    def look(self, name: str) -> Job:
        return Job(name, "SUCCEEDED")


@pytest.fixture
def watch(spec, local, settings, tmp_path) -> Watch:
    url = f"file://{tmp_path}/storage"
    local.create(spec)
    ray = {"ray_address": "http://127.0.0.1:9", "ray_storage": url, "ray_patience_s": 1}
    found = Watch(local, settings.model_copy(update=ray))
    found._client = RayOfThisProcess(tmp_path / "node")
    return found


def test_a_watched_run_is_brought_fetched_and_removed_from_the_storage(watch, local, tmp_path):
    watch.follow(resume=False)
    assert local.result() == ENDED
    assert local.metrics_path.read_text() == '{"a": 1}\n'
    assert read_tenancy(local) == Tenancy(token=2)
    assert not (tmp_path / "storage/runs/a-run").exists()
    assert list((tmp_path / "storage/content").iterdir())


def test_a_storage_that_takes_nothing_fails_the_run_with_a_sentence(watch, local, tmp_path):
    (tmp_path / "storage").write_text("a file is no folder")
    watch.follow(resume=False)
    assert str(tmp_path / "storage") in local.result().error.problem
    assert read_tenancy(local).job is None


@pytest.mark.slow
def test_a_run_that_stopped_here_goes_on_there_with_the_losses_of_a_whole_one(
    spec, settings, tmp_path, local
):
    whole, _ = train_here(spec, tmp_path / "whole", settings)
    local_steps = iter(range(100))
    train_here(spec, local.path, settings, should_stop=lambda: next(local_steps) >= 4)
    assert steps(local)
    url = f"file://{tmp_path}/storage"
    here = Here(local, open_storage(url), 3, settings)
    here.write_token(3)
    here.bring(resume=True)
    assert job.run_apart(url, "a-run", 3, True, threading.Event()) == 0, local.log_tail()
    here.take()
    assert local.result().state == "finished", local.log_tail()
    assert losses(local) == losses(whole)
    assert identity_of_step(local.checkpoints_path, 8).spec_hash == spec_hash(spec)
    said = (local.adapter_path / "provenance.json").read_text("utf-8")
    assert spec.dataset.source in said
    assert spec.base_model in said
    assert "/inputs/" not in said
    train_here(spec, local.path, settings, resume=True)  # its checkpoint is one of here


@pytest.mark.slow
def test_a_storage_that_takes_no_more_ends_the_job_and_keeps_what_came(
    spec, here, local, storage, disk, settings, monkeypatch, capsys
):
    monkeypatch.setattr(job, "LOST_FOLDER_S", 0.0)
    monkeypatch.setattr(job, "open_storage", lambda _: storage)
    beaten = disk.pipe_file

    def full_once_a_checkpoint_was_given(path, value, **_):
        if path.endswith("index.json") and b"checkpoints" in value:
            beaten(path, value)
            disk.left = 0
            return
        beaten(path, value)

    monkeypatch.setattr(disk, "pipe_file", full_once_a_checkpoint_was_given)
    assert job.run_apart("file:///x", "a-run", 1, False, threading.Event()) != 0
    assert "No space left" in capsys.readouterr().err
    here.take()
    assert steps(local)
    assert local.result() is None
