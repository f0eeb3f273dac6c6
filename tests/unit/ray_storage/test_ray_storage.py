"""Both ends of a Ray job over a storage: what goes there, what comes back, what is refused."""

from __future__ import annotations

import errno
import tempfile
import threading
from pathlib import Path

import pytest

from lora_engine.errors import EngineError
from lora_engine.runs.launchers.ray import job
from lora_engine.runs.launchers.ray import storage as storages
from lora_engine.runs.launchers.ray.apart import Fenced, Here, Stopped, There
from lora_engine.runs.launchers.ray.returned import Index
from lora_engine.runs.launchers.ray.storage import (
    PIECE_BYTES,
    StorageTrouble,
    StoredFile,
)
from lora_engine.training.precision import FILE as PRECISION
from lora_engine.training.precision import KeptPrecision, read_precision
from tests.ray_storage import ENDED, steps, write_checkpoint


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


def test_a_run_that_goes_on_elsewhere_takes_what_it_computes_in(here, local, storage, tmp_path):
    kept = KeptPrecision(precision="bfloat16", why="pays")
    (local.path / PRECISION).write_text(kept.model_dump_json())
    here.bring(resume=True, between=lambda: None)
    node = There(storage, "a-run", 1, tmp_path / "node")
    node.begin(threading.Event())
    assert read_precision(node.directory) == kept


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
