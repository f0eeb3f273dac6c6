"""Which other servers people behind a login may ask, and where the question really goes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from lora_engine.access import Person, acting_as
from lora_engine.compare.generate.remote_server import RemoteAnswer
from lora_engine.compare.generate.server_address import AllowedServers
from lora_engine.compare.service import Comparisons
from lora_engine.data import Message
from lora_engine.errors import EngineError
from lora_engine.generation.sampling import Sampling
from lora_engine.settings import Settings

ANNA = Person("anna", "run", "10.0.0.1")
ASK = [Message("user", "Hello?")]


def comparisons(folder: Path, *allowed: str) -> Comparisons:
    return Comparisons(Settings(data_dir=folder, models_dir=folder, allowed_servers=allowed))


def leads_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Names lead to these addresses; returns the names that were asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def lookup(host: str, port: int, *how: int, **named: int) -> list[tuple]:
        if host[0].isdigit():
            return real(host, port, *how, **named)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr("lora_engine.compare.generate.server_address.socket.getaddrinfo", lookup)
    return asked


@pytest.mark.parametrize(
    "url",
    [
        "http://gpu.example:8001/v1",
        "http://gpu.example/v1",
        "https://gpu.example:443/v1",
        "http://127.0.0.1:8000/v1",
        "http://2130706433:8000/v1",
        "http://[::ffff:127.0.0.1]:8000/v1",
        "http://169.254.169.254/v1",
        "http://gpu.example.evil.example:8000/v1",
    ],
)
def test_behind_a_login_only_named_servers_are_asked(tmp_path: Path, url: str) -> None:
    compare = comparisons(tmp_path, "gpu.example:8000", "10.1.0.0/16")
    assert compare.another_server(url, "m").allowed is None  # whoever sits at the machine
    with acting_as(ANNA):
        with pytest.raises(EngineError, match="LORA_ALLOWED_SERVERS"):
            compare.another_server(url, "m")
        assert compare.another_server("http://GPU.example:8000/v1", "m")
        assert compare.another_server("http://10.1.2.3:9/v1", "m")


def test_without_the_setting_none_is_asked_and_who_may_only_look_asks_none(tmp_path: Path) -> None:
    with acting_as(ANNA), pytest.raises(EngineError):
        comparisons(tmp_path).another_server("http://gpu.example/v1", "m")
    with acting_as(Person("ben", "see")), pytest.raises(EngineError, match="role"):
        comparisons(tmp_path, "gpu.example").another_server("http://gpu.example/v1", "m")


@pytest.mark.parametrize("entry", ["http://a/", "a/b", "a:x", "0.0.0.0/0", "a b", "u@a", "::/0"])
def test_what_is_no_server_is_refused_at_the_start(tmp_path: Path, entry: str) -> None:
    with pytest.raises(EngineError, match="LORA_ALLOWED_SERVERS"):
        comparisons(tmp_path, entry)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.8", "169.254.169.254", "::1", "::ffff:10.0.0.8", "0.0.0.0"]
)
def test_every_address_of_a_name_is_checked(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    allowed, url = AllowedServers(["gpu.example"]), "http://gpu.example/v1"
    leads_to(monkeypatch, "93.184.216.34")
    assert allowed.address_of(url) == "93.184.216.34"
    leads_to(monkeypatch, "93.184.216.34", address)
    with pytest.raises(EngineError, match="not public"):
        allowed.address_of(url)
    leads_to(monkeypatch)
    with pytest.raises(EngineError, match="no address"):
        allowed.address_of(url)


class _Handler(BaseHTTPRequestHandler):
    """Answers every question with a redirect to itself, and keeps the Host it was asked for."""

    def do_POST(self) -> None:
        self.server.hosts.append(self.headers["Host"])  # type: ignore[attr-defined]
        self.send_response(307)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    made = HTTPServer(("127.0.0.1", 0), _Handler)
    made.hosts = []  # type: ignore[attr-defined]
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_the_question_goes_to_the_checked_address_and_no_redirect_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: HTTPServer
) -> None:
    host = f"gpu.example:{server.server_port}"
    with acting_as(ANNA):
        found = comparisons(tmp_path, host, "127.0.0.1").another_server(f"http://{host}/v1", "m")
    asked = leads_to(monkeypatch, "127.0.0.1")  # the only look-up: a second could lead elsewhere
    answer = RemoteAnswer(found, ASK, Sampling())
    answer.thread.join(30)
    assert answer.progress().finished == "failed"
    assert "307" in (answer.progress().problem or "")
    assert asked == ["gpu.example"]
    assert server.hosts == [host]  # type: ignore[attr-defined]
