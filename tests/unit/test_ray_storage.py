"""Both ends of a Ray job over a storage, in one process and without Ray."""

from __future__ import annotations

import contextlib
import errno
import io
import shlex
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from lora_engine.errors import EngineError
from lora_engine.run_folder import RunDirectory, RunProblem, RunResult
from lora_engine.runs.launchers import read_trouble
from lora_engine.runs.launchers.ray import job
from lora_engine.runs.launchers.ray import storage as storages
from lora_engine.runs.launchers.ray import watch as watching
from lora_engine.runs.launchers.ray.apart import Fenced, Here, Stopped, There
from lora_engine.runs.launchers.ray.client import Job, NoAnswer, Refused
from lora_engine.runs.launchers.ray.returned import Index
from lora_engine.runs.launchers.ray.storage import (
    PIECE_BYTES,
    Storage,
    StorageTrouble,
    StoredFile,
    open_storage,
)
from lora_engine.runs.launchers.ray.tenancy import Heartbeat, Tenancy, read_tenancy, write_tenancy
from lora_engine.runs.launchers.ray.watch import Watch
from lora_engine.runs.launchers.watching import Ear
from lora_engine.spec import RunSpec
from lora_engine.training.checkpointing.checkpoints import identity_of_step
from lora_engine.training.checkpointing.identity import spec_hash
from tests.training_runs import losses, tiny_spec, train_here

ENDED = RunResult.failed(RunProblem(problem="The rows are empty.", remedy="Give others."))


class FullDisk(LocalFileSystem):
    """Takes so many more files, and of the next one a part."""

    cachable = False

    def __init__(self) -> None:
        super().__init__(auto_mkdir=True)
        self.left = 1_000_000

    def pipe_file(self, path, value, **_):
        if self.left == 0:
            super().pipe_file(path, value[: len(value) // 2])
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
    end.bring(resume=False, between=lambda: None)
    return end


@pytest.fixture
def local(settings) -> RunDirectory:
    return RunDirectory(settings.runs_dir / "a-run")


@pytest.fixture
def there(here, storage, tmp_path) -> There:
    end = There(storage, "a-run", 1, tmp_path / "node")
    end.begin(threading.Event())
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


def newest(directory: RunDirectory) -> int:
    return max(int(name.removeprefix("step-")) for name in steps(directory))


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
    here.bring(resume=False, between=lambda: None)
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


@pytest.mark.parametrize("writes", range(3))  # a file, the result, the list
def test_a_storage_that_is_full_in_the_middle_leaves_what_was_whole(
    there, here, local, disk, writes, tmp_path
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
    assert not list((tmp_path / "storage").rglob("*.new"))
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


def test_what_an_earlier_job_left_is_taken_where_it_came_further(
    there, here, local, storage, settings
):
    write_checkpoint(there.directory, 4, b"4")
    there.directory.write_result(ENDED)
    there.give()
    write_checkpoint(local, 6, b"6")
    again = Here(local, storage, 3, settings)
    again.write_token(3)
    again.take_earlier()
    assert steps(local) == {"step-6"}
    (local.checkpoints_path / "step-6").rename(local.checkpoints_path / "step-2")
    again.take_earlier()
    assert steps(local) == {"step-4"}
    assert local.result() is None


def test_a_job_that_is_stopped_while_it_takes_its_files_leaves_nothing(
    here, storage, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "node"))
    monkeypatch.setattr(job, "open_storage", lambda _: storage)
    (tmp_path / "node").mkdir()
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Stopped):
        There(storage, "a-run", 1, tmp_path / "other").begin(stopped)
    assert job.run_apart("file:///x", "a-run", 1, False, stopped) != 0
    assert not list((tmp_path / "node").iterdir())


def test_a_full_disk_of_the_node_is_a_sentence_and_leaves_nothing(
    here, storage, tmp_path, monkeypatch, capsys
):
    def full(path: Path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "node"))
    monkeypatch.setattr(job, "open_storage", lambda _: storage)
    monkeypatch.setattr(storages, "atomic_file", full)
    (tmp_path / "node").mkdir()
    assert job.run_apart("file:///x", "a-run", 1, False, threading.Event()) == 2
    assert capsys.readouterr().err.startswith("error: [Errno 28] No space left on device")
    assert not list((tmp_path / "node").iterdir())


def test_a_full_disk_here_leaves_what_was_whole_and_nothing_is_lost(
    there, here, local, monkeypatch
):
    def full(path: Path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    write_checkpoint(there.directory, 2, b"old")
    there.give()
    here.take()
    write_checkpoint(there.directory, 4, b"new")
    there.directory.write_result(ENDED)
    there.give()
    with monkeypatch.context() as changed:
        changed.setattr(storages, "atomic_file", full)
        with pytest.raises(StorageTrouble, match="No space left"):
            here.take()
    assert steps(local) == {"step-2"}
    assert local.result() is None
    here.take()
    assert steps(local) == {"step-2", "step-4"}
    assert local.result() == ENDED


def test_a_storage_is_tried_out_and_left_as_it_was(storage, disk, tmp_path):
    storage.try_out()
    assert not list((tmp_path / "storage").iterdir())
    disk.left = 0
    with pytest.raises(StorageTrouble, match="No space left"):
        storage.try_out()
    assert not list((tmp_path / "storage").iterdir())


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


@pytest.mark.parametrize(
    "name",
    ["../spec.json", "/etc/x", "a/../../b", "a\\b", "", "spec.json", "./ray.json", "lock/a", ".x"],
)
def test_a_name_that_is_none_of_what_a_run_leaves_is_refused(name, here, storage, local):
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
        small.bring(resume=True, between=lambda: None)
    assert "LORA_RAY_STORAGE_MB" in error.value.problem


class RayOfThisProcess:
    """A cluster whose jobs are done at once, by `work`, which gets the node's end of the job."""

    def __init__(self, folder: Path, work: Callable[[There], None]) -> None:
        self._folder, self._work = folder, work
        self.status, self.said = "SUCCEEDED", ""
        self.submitted: list[str] = []

    def version(self) -> str:
        return "2.60.0"

    def upload(self, name: str, content: bytes) -> str:
        return name

    def submit(self, name: str, entrypoint: str, *_) -> None:
        self.submitted.append(name)
        words = shlex.split(entrypoint)
        token, url = (words[words.index(one) + 1] for one in ("--token", "--storage"))
        run = Path(words[words.index("--token") - 1]).name
        self._work(There(open_storage(url), run, int(token), self._folder))

    def look(self, name: str) -> Job:
        return Job(name, self.status)

    def cancel(self, name: str) -> None:
        self.status = "STOPPED"

    def log(self, name: str, lines: int) -> str:
        return self.said


def finish(end: There) -> None:
    end.begin(threading.Event())
    end.beat()
    end.directory.metrics_path.write_text('{"a": 1}\n')
    end.directory.write_result(ENDED)
    end.give()


def save_and_die(end: There) -> None:
    end.begin(threading.Event())
    end.beat()
    write_checkpoint(end.directory, 2, b"2")
    end.give()


@pytest.fixture
def with_storage(settings, tmp_path):
    ray = {"ray_address": "http://127.0.0.1:9", "ray_storage": f"file://{tmp_path}/storage"}
    return settings.model_copy(update={**ray, "ray_patience_s": 1, "ray_poll_s": 0.1})


@pytest.fixture
def watch(spec, local, with_storage, tmp_path, monkeypatch) -> Watch:
    """Of a new run, whose job finishes it at once."""
    monkeypatch.setattr(watching, "code_archive", lambda: ("code.zip", b""))
    local.create(spec)
    found = Watch(local, with_storage, Ear())
    found._client = RayOfThisProcess(tmp_path / "node", finish)
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


def test_a_ray_of_another_version_fails_the_run_before_anything_is_sent(
    watch, local, tmp_path, monkeypatch
):
    def refuse() -> str:
        raise Refused("The cluster runs Ray 1.13.0.", "Update it.")

    monkeypatch.setattr(watch._client, "version", refuse)
    watch.follow(resume=False)
    assert local.result().error == RunProblem(
        problem="The cluster runs Ray 1.13.0.", remedy="Update it."
    )
    assert not list((tmp_path / "storage").rglob("*"))
    assert read_tenancy(local).job is None


def test_a_run_that_is_stopped_while_its_files_are_sent_has_no_job(watch, local):
    watch._ear.asked = signal.SIGTERM
    watch.follow(resume=False)
    assert watch._client.submitted == []
    assert read_tenancy(local) == Tenancy(token=2)
    assert local.result() is None


def test_a_job_that_ended_while_nobody_watched_is_not_done_again(watch, there, local, with_storage):
    finish(there)
    write_tenancy(local, Tenancy(token=1, job="a-run-1", storage=with_storage.ray_storage))
    watch.follow(resume=True)
    assert watch._client.submitted == []
    assert local.result() == ENDED


@pytest.mark.parametrize("said", ["error: The storage is full.\nmore", "Killed"])
def test_what_a_job_said_at_its_end_is_why_the_run_failed(watch, local, said, tmp_path):
    watch._client = RayOfThisProcess(tmp_path / "node", save_and_die)
    watch._client.status, watch._client.said = "FAILED", said
    watch.follow(resume=False)
    assert steps(local) == {"step-2"}
    if said == "Killed":
        assert local.result() is None  # interrupted
        assert "a-run-1" in read_trouble(local).problem
    else:
        assert "The storage is full." in local.result().error.problem
    assert not (tmp_path / "storage/runs/a-run").exists()


def test_a_ray_that_falls_silent_is_told_while_it_is_and_at_the_end(
    watch, local, tmp_path, monkeypatch
):
    told = []

    def look(name: str) -> Job:
        found = read_trouble(local)
        told.append(found and found.problem)
        raise NoAnswer("Nobody answers.", "Look there.")

    watch._client = RayOfThisProcess(tmp_path / "node", lambda end: None)
    monkeypatch.setattr(watch._client, "look", look)
    watch.follow(resume=False)
    assert local.result() is None
    assert (told[0], told[-1]) == (None, "Nobody answers.")
    assert "a-run-1" in read_trouble(local).problem


@pytest.mark.parametrize("said", ["error: No peft.", "ModuleNotFoundError: No peft"])
def test_a_job_that_did_not_begin_says_why_also_after_another_that_did(
    watch, local, said, tmp_path
):
    watch._client = RayOfThisProcess(tmp_path / "node", lambda end: None)
    watch._client.status, watch._client.said = "FAILED", said
    watch._last_beat = Heartbeat(token=0, beat=9)
    watch.follow(resume=False)
    assert "before it began to train" in local.result().error.problem
    assert "No peft." in local.result().error.problem


@pytest.mark.slow
def test_a_storage_that_fills_ends_the_job_with_a_sentence_and_the_run_goes_on_exactly(
    watch, spec, settings, storage, disk, local, tmp_path, monkeypatch
):
    """The node's worker is a real one, in a process of its own."""

    def work(end: There) -> None:
        token = read_tenancy(local).token
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = job.run_apart("file:///x", "a-run", token, True, threading.Event())
        cluster.said, cluster.status = said.getvalue(), "FAILED" if status else "SUCCEEDED"

    put = disk.pipe_file

    def full_for_the_end_of_the_first(path, value, **_):
        if b'"result.json"' in value and len(cluster.submitted) == 1:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        put(path, value)

    monkeypatch.setattr(job, "LOST_FOLDER_S", 0.0)
    monkeypatch.setattr(job, "open_storage", lambda _: storage)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "node"))
    monkeypatch.setattr(disk, "pipe_file", full_for_the_end_of_the_first)
    (tmp_path / "node").mkdir()
    cluster = watch._client = RayOfThisProcess(tmp_path / "other", work)
    steps_here = iter(range(100))
    train_here(spec, local.path, settings, should_stop=lambda: next(steps_here) >= 4)
    begun_at = newest(local)
    watch.follow(resume=True)
    assert "No space left" in local.result().error.problem, local.log_tail()
    assert newest(local) >= begun_at
    assert read_tenancy(local).job is None
    assert list((tmp_path / "node").iterdir()), "what did not come stays on the node"

    local.clear_result()
    watch.follow(resume=True)
    assert local.result().state == "finished", local.log_tail()
    whole, _ = train_here(spec, tmp_path / "whole", settings)
    assert losses(local) == losses(whole)
    assert identity_of_step(local.checkpoints_path, 8).spec_hash == spec_hash(spec)
    said = (local.adapter_path / "provenance.json").read_text("utf-8")
    assert spec.dataset.source in said
    assert spec.base_model in said
    assert "/inputs/" not in said
    train_here(spec, local.path, settings, resume=True)  # its checkpoint is one of here
