"""What `python app.py` takes: its two flags before the environment, and nothing unknown."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

import app
from lora_engine.errors import EngineError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("HOST", raising=False)
    monkeypatch.delenv("PORT", raising=False)
    return monkeypatch


def test_a_flag_stands_before_the_environment_and_that_before_the_default(environment) -> None:
    assert app.parse_address([]) == ("127.0.0.1", 7860)
    environment.setenv("HOST", "::1")
    environment.setenv("PORT", "8001")
    assert app.parse_address([]) == ("::1", 8001)
    assert app.parse_address(["--port", "0"]) == ("::1", 0)
    assert app.parse_address(["--host=0.0.0.0", "--port=8002"]) == ("0.0.0.0", 8002)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--port", "65536"], "--port"),
        (["--port", "-1"], "--port"),
        (["--port", "١٢"], "--port"),
        (["--port"], "--port"),
        (["--share"], "--share"),
        (["7861"], "7861"),
    ],
)
def test_what_is_wrong_or_unknown_is_named(environment, arguments: list[str], named: str) -> None:
    with pytest.raises(EngineError) as caught:
        app.parse_address(arguments)
    assert named in caught.value.problem


def test_a_wrong_port_of_the_environment_is_named_as_such(environment) -> None:
    environment.setenv("PORT", "8o")
    with pytest.raises(EngineError, match="PORT: got '8o'"):
        app.parse_address([])


@pytest.mark.parametrize(("flag", "code"), [("--help", 0), ("--nope", 2)])
def test_the_process_answers_at_once_and_serves_nothing(flag: str, code: int) -> None:
    command = [sys.executable, str(ROOT / "app.py"), flag]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert "--port" in done.stdout if code == 0 else done.stderr.startswith("error: ")


def test_a_start_collects_no_garbage_and_the_server_does() -> None:
    with app.uncollected():
        assert not gc.isenabled()
    kept = gc.get_freeze_count()
    gc.unfreeze()
    assert kept > 0
    assert gc.isenabled()


def test_a_start_that_fails_leaves_the_collector_as_it_was() -> None:
    kept = gc.get_freeze_count()
    with pytest.raises(EngineError), app.uncollected():
        raise EngineError("", "")
    assert gc.isenabled()
    assert gc.get_freeze_count() == kept
