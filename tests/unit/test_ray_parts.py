"""The parts of the Ray launcher that need no Ray: client, code, tenancy, settings, the job."""

from __future__ import annotations

import errno
import io
import itertools
import os
import signal
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from lora_engine.environment import load_settings
from lora_engine.errors import EngineError, InvalidInput, Unreadable
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launchers import refuse_unconfigured, versions
from lora_engine.runs.launchers.ray import client, job, node
from lora_engine.runs.launchers.ray.client import NoAnswer, RayClient, Refused
from lora_engine.runs.launchers.ray.code import ENGINE, code_archive
from lora_engine.runs.launchers.ray.last_words import problem_said
from lora_engine.runs.launchers.ray.launcher import RayLauncher
from lora_engine.runs.launchers.ray.tenancy import (
    Heartbeat,
    Tenancy,
    read_heartbeat,
    read_tenancy,
    write_heartbeat,
    write_tenancy,
)
from lora_engine.spec import RunSpec


@pytest.fixture
def answering():
    """A server that answers every request alike; its address, and the answer to set."""
    answer = {"status": 200, "body": b"<html>a web page</html>"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answer["status"])
            self.end_headers()
            self.wfile.write(answer["body"])

        def log_message(self, *_) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answer
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"<html>a web page</html>", Refused),
        (200, b"[]", Refused),
        (200, b"{}", Refused),
        (404, b"", Refused),
        (500, b"Traceback\n  ValueError: no such thing", Refused),
        (503, b"starting", NoAnswer),
    ],
)
def test_what_is_no_ray_is_a_sentence(answering, status, body, kind):
    address, answer = answering
    answer.update(status=status, body=body)
    with pytest.raises(kind) as error:
        RayClient(address).version()
    assert error.value.remedy


@pytest.mark.parametrize("bound", ["MAX_ANSWER_BYTES", "PATIENCE_S"])
def test_an_answer_without_an_end_is_waited_for_no_longer(answering, monkeypatch, bound):
    """Larger than is read, or slower: each part comes in time, and never the last."""
    address, answer = answering
    answer.update(body=b" " * 200_000 + b'{"ray_version": "2.60.0"}')
    assert RayClient(address).version() == "2.60.0"
    if bound == "PATIENCE_S":
        clock = itertools.count(0, 200)
        monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    else:
        monkeypatch.setattr(client, bound, 100_000)
    with pytest.raises(NoAnswer, match=r"no end|more than"):
        RayClient(address).version()


@pytest.mark.parametrize("version", ["1.13.0", "2.7.2"])
def test_a_ray_that_is_too_old_is_a_sentence_with_both_versions(answering, version):
    address, answer = answering
    answer.update(body=f'{{"version": "3", "ray_version": "{version}"}}'.encode())
    with pytest.raises(Refused) as error:
        RayClient(address).version()
    assert version in error.value.problem
    assert "2.8" in error.value.problem


@pytest.mark.parametrize("version", ["2.8.0", "2.60.0", "3.0.0.dev0", "nightly"])
def test_other_versions_of_ray_are_taken(answering, version):
    address, answer = answering
    answer.update(body=f'{{"ray_version": "{version}"}}'.encode())
    assert RayClient(address).version() == version


def test_another_rankscope_on_the_node_is_a_sentence(tmp_path):
    node.refuse_other_program(ENGINE.parent)
    with pytest.raises(EngineError) as error:
        node.refuse_other_program(tmp_path)
    assert str(ENGINE) in error.value.problem


def test_packages_that_are_missing_or_others_on_the_node_are_named(monkeypatch):
    node.refuse_missing_packages()
    here = versions.packages_here()
    assert set(here) == set(versions.NEEDED)
    told = versions.versions_as_arguments()[1::2]
    assert versions.other_versions(told) == ""
    assert versions.other_versions([*told, "torch=1.0"]) == f"torch {here['torch']} (1.0)"
    monkeypatch.setattr(node, "NEEDED", ("torch", "no-such-package"))
    with pytest.raises(EngineError) as error:
        node.refuse_missing_packages()
    assert "no-such-package" in error.value.problem
    assert versions.other_versions(["no-such-package=1"]) == ""


def test_nobody_at_the_address_is_a_sentence_that_names_it():
    with pytest.raises(NoAnswer) as error:
        RayClient("http://127.0.0.1:9").version()
    assert "127.0.0.1:9" in error.value.problem
    assert "LORA_RAY_ADDRESS" in error.value.remedy


def test_a_job_that_ray_does_not_know_is_none(answering):
    address, answer = answering
    answer.update(status=404, body=b"no such job")
    assert RayClient(address).look("a-1") is None


@pytest.mark.parametrize("wrong", ["head:8265", "ray://head:10001", "http://a b", "file:///etc"])
def test_an_address_of_another_form_is_refused_by_the_settings(wrong):
    with pytest.raises(InvalidInput) as error:
        load_settings({"LORA_RAY_ADDRESS": wrong})
    assert error.value.problems[0].path == "LORA_RAY_ADDRESS"
    assert "http://head:8265" in error.value.problem  # an example, and no pattern
    assert "https?" not in error.value.problem


def test_a_run_for_ray_is_refused_where_no_setting_names_one(settings):
    with pytest.raises(EngineError) as error:
        refuse_unconfigured(RunSpec(launcher="ray"), settings)
    assert "LORA_RAY_ADDRESS" in error.value.remedy


def test_the_code_is_small_the_same_every_time_and_holds_no_tests():
    name, content = code_archive()
    assert code_archive() == (name, content)
    names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    assert all(one.startswith("lora_engine/") and "__pycache__" not in one for one in names)
    assert "lora_engine/training/worker.py" in names
    assert len(content) < 20_000_000


def test_a_token_is_kept_and_never_guessed(tmp_path):
    directory = RunDirectory(tmp_path)
    assert read_tenancy(directory) == Tenancy(token=0, job=None)
    write_tenancy(directory, Tenancy(token=3, job="a-3"))
    assert read_tenancy(directory) == Tenancy(token=3, job="a-3")
    (tmp_path / "ray.json").write_text("{")
    with pytest.raises(Unreadable):
        read_tenancy(directory)
    assert read_heartbeat(directory) is None
    write_heartbeat(directory, Heartbeat(token=3, beat=7))
    assert read_heartbeat(directory) == Heartbeat(token=3, beat=7)
    (tmp_path / "heartbeat.json").write_text("torn")
    assert read_heartbeat(directory) is None


@pytest.mark.parametrize("name", ["ray.json", "heartbeat.json"])
@pytest.mark.parametrize("kind", ["folder", "endless", "huge", "deep"])
def test_whatever_lies_in_their_place_is_no_word_and_stops_nobody(settings, tmp_path, name, kind):
    path = tmp_path / name
    if kind == "folder":
        path.mkdir()
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.write_text("[" * 9_000 if kind == "deep" else " " * 20_000)
    assert read_heartbeat(RunDirectory(tmp_path)) is None
    watched = RayLauncher(settings).poll(RunDirectory(tmp_path))
    assert (watched.is_alive, watched.lost_watcher) == (False, False)


@pytest.fixture
def worker(monkeypatch):
    """What a job starts in place of a worker; the code to set, and the processes started."""
    started = {"code": "pass", "processes": []}

    def start(*_) -> subprocess.Popen:
        started["processes"].append(subprocess.Popen([sys.executable, "-c", started["code"]]))
        return started["processes"][-1]

    monkeypatch.setattr(job, "_worker", start)
    return started


def keep(directory: RunDirectory, token: int, others: str = "") -> int:
    place = job.SharedFolder(directory, token)
    return job._run(place, os.environ, False, threading.Event(), others)


def test_a_job_beats_until_its_worker_ends(tmp_path, worker):
    directory = RunDirectory(tmp_path)
    write_tenancy(directory, Tenancy(token=3, job="a-3"))
    assert keep(directory, 3, "torch 2.0 (2.9)") == 0
    assert read_heartbeat(directory).token == 3
    assert "torch 2.0 (2.9)" in directory.log_tail()


def test_a_shared_disk_that_fills_ends_the_job_with_a_sentence(
    tmp_path, worker, monkeypatch, capsys
):
    directory = RunDirectory(tmp_path)
    write_tenancy(directory, Tenancy(token=3, job="a-3"))
    beats = iter(range(2))

    def full_later(*_) -> None:
        if next(beats, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(job, "write_heartbeat", full_later)
    monkeypatch.setattr(job, "LOST_FOLDER_S", 0.0)
    worker["code"] = "import time; time.sleep(600)"
    assert keep(directory, 3) == job.LOST
    assert worker["processes"][0].returncode == -signal.SIGKILL
    assert "No space left on device" in problem_said(capsys.readouterr().err)


def test_a_job_of_another_rankscope_ends_before_it_touches_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["job", str(tmp_path / "run"), "--token", "1"])
    assert job.main() == 2
    assert str(ENGINE) in problem_said(capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_a_job_whose_token_is_old_starts_nothing_and_a_fenced_one_kills_its_worker(
    tmp_path, worker
):
    directory = RunDirectory(tmp_path)
    write_tenancy(directory, Tenancy(token=3, job="a-3"))
    assert keep(directory, 2) == job.FENCED
    assert not worker["processes"]
    newer = Tenancy(token=4, job="a-4").model_dump_json()
    worker["code"] = f"open({str(tmp_path / 'ray.json')!r}, 'w').write({newer!r})\n"
    worker["code"] += "import time; time.sleep(600)"
    assert keep(directory, 3) == job.FENCED
    assert worker["processes"][0].returncode == -signal.SIGKILL
