"""A data folder of no use: every command and the dashboard say so and end with 2."""

from __future__ import annotations

import logging
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

import app
from lora_engine import __main__ as command_line

NO_FOLDER = ("a file", "a loop", "nobody's home")
OF_NO_USE = (
    *NO_FOLDER, "under a file", "runs is a file", "the list is a folder", "a list of later"
)  # fmt: skip


@pytest.fixture
def broken(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "data"
    match request.param:
        case "a file" | "under a file":
            path.write_text("mine")
            path = path / "sub" if request.param == "under a file" else path
        case "a loop":
            path.symlink_to(path)
        case "nobody's home":
            path = Path("~nobody-of-this-name/data")
        case "runs is a file":
            path.mkdir()
            (path / "runs").write_text("mine")
        case "the list is a folder":
            (path / "runs.db").mkdir(parents=True)
        case "a list of later":
            path.mkdir()
            with closing(sqlite3.connect(path / "runs.db")) as later:
                later.execute("PRAGMA user_version = 99")
        case "the log is a folder":
            (path / "rankscope.log").mkdir(parents=True)
    monkeypatch.setenv("LORA_DATA_DIR", str(path))
    monkeypatch.delenv("LORA_MODELS_DIR", raising=False)
    return path


def refused(capsys: pytest.CaptureFixture[str], status: int) -> bool:
    said = capsys.readouterr().err
    return status == 2 and said.startswith("error: ") and "Traceback" not in said


@pytest.mark.parametrize("broken", [*OF_NO_USE, "the log is a folder"], indirect=True)
def test_the_dashboard_refuses_it(broken, monkeypatch, capsys):
    monkeypatch.setattr(app, "scrub_output", lambda: None)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    assert refused(capsys, app.main(["--port", "0"]))


@pytest.mark.parametrize("command", [["runs"], ["sweeps"], ["show", "a"], ["cancel", "a"]])
@pytest.mark.parametrize("broken", OF_NO_USE, indirect=True)
def test_a_command_about_runs_refuses_it(broken, command, monkeypatch, capsys):
    assert refused(capsys, run(command, monkeypatch))


@pytest.mark.parametrize("command", [["adapters"], ["models"], ["datasets"], ["doctor"]])
@pytest.mark.parametrize("broken", NO_FOLDER, indirect=True)
def test_any_command_refuses_what_is_no_folder(broken, command, monkeypatch, capsys):
    assert refused(capsys, run(command, monkeypatch))


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["rankscope", *arguments])
    monkeypatch.setattr(command_line, "scrub_output", lambda: None)
    try:
        return command_line.main()
    except SystemExit as ended:
        return int(ended.code or 0)
