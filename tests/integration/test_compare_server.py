"""A column on another server: against a real one (`transformers serve`), and against bad ones."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError

import pytest

from lora_engine.base_models import resolve_base_model
from lora_engine.cancellation import NEVER_STOPPED
from lora_engine.compare.generate import remote_server as server_module
from lora_engine.compare.generate.answer_progress import ColumnProgress
from lora_engine.compare.generate.comparison_model import AnswerRequest, ComparisonModel
from lora_engine.compare.generate.local_and_remote import SERVER_COLUMN, answer_local_and_remote
from lora_engine.compare.generate.remote_server import (
    RemoteAnswer,
    RemoteServers,
    parse_remote_server,
)
from lora_engine.data import Message
from lora_engine.errors import EngineError, NotFound
from lora_engine.generation.sampling import Sampling
from lora_engine.starter import MODEL_DIR

ASK = [Message("user", "What colour is the sky?")]
KEY = "sk-do-not-show-me"
START_S = 120


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base address of `transformers serve` on the starter."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "serve.log"
    command = [Path(sys.executable).parent / "transformers", "serve", MODEL_DIR]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *options],
            stdout=output,
            stderr=output,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    try:
        deadline = time.monotonic() + START_S
        while not _healthy(port):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"transformers serve did not start:\n{log.read_text('utf-8')[-2000:]}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except (URLError, ConnectionError, TimeoutError):
        return False


def finished(answer: RemoteAnswer) -> ColumnProgress:
    deadline = time.monotonic() + 60
    while answer.progress().finished is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return answer.progress()


def test_a_real_server_gives_the_answer_that_the_same_model_gives_here(served, settings):
    model = ComparisonModel.load(resolve_base_model("starter", settings), {}, settings)
    server = parse_remote_server(served, str(MODEL_DIR), KEY)
    steps = list(
        answer_local_and_remote(
            model,
            [AnswerRequest("base", "base", ASK)],
            server,
            ASK,
            Sampling(max_new_tokens=20),
            NEVER_STOPPED,
        )
    )
    found = steps[-1].columns
    assert steps[-1].finished
    assert found[SERVER_COLUMN].problem is None
    assert found[SERVER_COLUMN].text == found["base"].text
    assert found[SERVER_COLUMN].finished == "end"
    assert found[SERVER_COLUMN].tokens > 0
    assert found[SERVER_COLUMN].first_token_s > 0


def test_a_real_server_ends_at_the_token_limit_and_names_its_own_errors(served):
    short = finished(
        RemoteAnswer(parse_remote_server(served, str(MODEL_DIR)), ASK, Sampling(max_new_tokens=3))
    )
    assert short.finished == "token limit"
    assert short.tokens == 3
    unknown = finished(
        RemoteAnswer(parse_remote_server(served, "no/such-model", KEY), ASK, Sampling())
    )
    assert unknown.finished == "failed"
    assert "answered 4" in unknown.problem or "answered 5" in unknown.problem
    assert KEY not in unknown.problem


def test_a_server_that_is_not_there_is_named():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    found = finished(
        RemoteAnswer(parse_remote_server(f"http://127.0.0.1:{port}/v1", "m"), ASK, Sampling())
    )
    assert f"127.0.0.1:{port} gave no answer" in found.problem


@pytest.fixture
def asked() -> list[tuple[str, dict]]:
    """What `hostile` was asked: path and body."""
    return []


@pytest.fixture
def hostile(asked: list[tuple[str, dict]]) -> Iterator[Callable[..., str]]:
    """Start a server that says what it is told to: `hostile(status, lines, headers)`."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, lines: list[bytes], headers: dict[str, str] | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                asked.append((self.path, json.loads(body)))
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                said = self.headers["Authorization"] or ""
                try:
                    for line in lines:
                        self.wfile.write(line.replace(b"KEY", said.encode()) + b"\n")
                        self.wfile.flush()
                except ConnectionError:
                    return

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/v1"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def piece(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode()


@pytest.mark.parametrize(
    ("status", "lines", "headers", "said"),
    [
        (401, [b"wrong key: KEY"], {}, "answered 401"),
        (302, [], {"Location": "http://127.0.0.1:1/"}, "answered 302"),
        (200, [b"data: {broken"], {}, "not JSON"),
        (200, [b"data: [1]"], {}, "no chat completion"),
        (200, [b'data: {"error": {"message": "KEY is bad"}}'], {}, "said"),
        (200, [piece("x" * 900)] * 20, {}, "more than 9,999 bytes"),
        (200, [b"x" * 20_000], {}, "more than 9,999 bytes"),
    ],
)
def test_a_bad_server_ends_its_column_with_a_sentence_and_never_the_key(
    hostile, monkeypatch, status, lines, headers, said
):
    monkeypatch.setattr(server_module, "MAX_ANSWER_BYTES", 9_999)
    server = parse_remote_server(hostile(status, lines, headers), "m", KEY)
    found = finished(RemoteAnswer(server, ASK, Sampling()))
    assert found.finished == "failed"
    assert said in found.problem
    assert KEY not in found.problem


def test_odd_but_harmless_events_are_passed_over(hostile):
    lines = [b": comment", b"", b'data: {"choices": []}', b'data: {"choices": [{"delta": null}]}']
    lines += [b'data: {"choices": [{"delta": {"content": 3}}], "usage": null}', piece("blue")]
    found = finished(RemoteAnswer(parse_remote_server(hostile(200, lines), "m"), ASK, Sampling()))
    assert (found.text, found.finished) == ("blue", "end")


def test_a_text_is_continued_by_a_server_too(hostile, asked):
    lines = [b'data: {"choices": [{"text": " and"}]}', b'data: {"choices": [{"text": " blue"}]}']
    turns = [*ASK, Message("assistant", " It is"), Message("user", " clear")]
    server = parse_remote_server(hostile(200, lines), "m")
    found = finished(RemoteAnswer(server, turns, Sampling(), "completion"))
    assert (found.text, found.finished) == (" and blue", "end")
    ((path, body),) = asked
    assert (path, body["prompt"]) == ("/v1/completions", f"{ASK[0].content} It is clear")
    assert "messages" not in body


def test_a_failed_server_leaves_the_other_columns_alone(hostile, settings):
    model = ComparisonModel.load(resolve_base_model("starter", settings), {}, settings)
    server = parse_remote_server(hostile(500, []), "m")
    *_, last = answer_local_and_remote(
        model, [AnswerRequest("base", "base", ASK)], server, ASK, Sampling(), NEVER_STOPPED
    )
    assert "blue" in last.columns["base"].text
    assert last.columns[SERVER_COLUMN].finished == "failed"


@pytest.mark.parametrize(
    ("url", "model", "key"),
    [
        ("file:///etc/passwd", "m", ""),
        ("ftp://host/v1", "m", ""),
        ("//host/v1", "m", ""),
        ("http://", "m", ""),
        ("http://user:secret@host/v1", "m", ""),
        ("http://host/v1?key=x", "m", ""),
        ("http://host:port/v1", "m", ""),
        ("http://[host/v1", "m", ""),
        ("http://" + "a" * 600, "m", ""),
        ("http://host/v1", " ", ""),
        ("http://host/v1", "m", "two words"),
        ("http://host/v1", "m", "line\nbreak: header"),
        ("http://host/v1", "m", "schlüssel"),
    ],
)
def test_what_is_no_server_is_refused(url, model, key):
    with pytest.raises(EngineError):
        parse_remote_server(url, model, key)


def test_a_key_is_in_no_text_of_a_server_and_the_oldest_server_is_forgotten(monkeypatch):
    server = parse_remote_server("https://host/v1/", "m", KEY)
    assert server.url == "https://host/v1"
    assert KEY not in f"{server!r} {server} {server.title}"
    monkeypatch.setattr(server_module, "MAX_SERVERS", 2)
    servers = RemoteServers()
    first, second, third = (servers.add(server) for _ in range(3))
    assert servers.get(third) == servers.get(second) == server
    with pytest.raises(NotFound):
        servers.get(first)
