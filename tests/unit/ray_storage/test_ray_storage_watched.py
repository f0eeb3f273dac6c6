"""A run over a storage, watched from its submission to its end, without Ray."""

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

from lora_engine.run_folder import RunProblem
from lora_engine.runs.launchers import read_trouble
from lora_engine.runs.launchers.ray import job
from lora_engine.runs.launchers.ray import watch as watching
from lora_engine.runs.launchers.ray.apart import There
from lora_engine.runs.launchers.ray.client import Job, NoAnswer, Refused
from lora_engine.runs.launchers.ray.storage import (
    open_storage,
)
from lora_engine.runs.launchers.ray.tenancy import Heartbeat, Tenancy, read_tenancy, write_tenancy
from lora_engine.runs.launchers.ray.watch import Watch
from lora_engine.runs.launchers.watching import Ear
from lora_engine.training.checkpointing.checkpoints import identity_of_step
from lora_engine.training.checkpointing.identity import spec_hash
from tests.ray_storage import ENDED, newest, steps, write_checkpoint
from tests.training_runs import losses, train_here


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
    assert read_tenancy(local) == Tenancy(token=2, storage=f"file://{tmp_path}/storage")
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
    assert (read_tenancy(local).token, read_tenancy(local).job) == (2, None)
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
