"""The guard in front of the dashboard: foreign hosts and pages, outside files, large bodies."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from pages.shared import quiet_gradio
from pages.shared.answer_headers import ANSWER_HEADERS
from pages.shared.security import (
    MEGABYTE,
    MULTIPART_BYTES,
    THROWN_AWAY_BYTES,
    Guard,
    host_name,
)

HOST = "127.0.0.1:7860"


async def _echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.url.path} {len(await request.body())}")


async def _chat(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


def _client(max_upload_mb: int = 1, allowed_hosts: tuple[str, ...] = ()) -> TestClient:
    routes = [
        Route("/{path:path}", _echo, methods=["GET", "POST"]),
        WebSocketRoute("/socket", _chat),
    ]
    guarded = Guard(Starlette(routes=routes), allowed_hosts, max_upload_mb)
    return TestClient(guarded, headers={"host": HOST})


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:7860", "127.0.0.1", "[::1]:7860", "LOCALHOST:80"]
)
def test_loopback_names_are_answered(host: str) -> None:
    assert _client().get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "evil.example/localhost",
        "localhost:port",
        "0.0.0.0:7860",
        "192.168.1.5",
        "[::1",
        "",
    ],
)
def test_other_hosts_are_refused_with_a_sentence(host: str) -> None:
    answer = _client().get("/", headers={"host": host})

    assert answer.status_code == 421
    assert "LORA_ALLOWED_HOSTS" in answer.text


def test_a_foreign_forwarded_host_is_refused() -> None:
    # Gradio builds the addresses in its page from it.
    for header in ("x-forwarded-host", "x-gradio-server"):
        value = "http://evil.example" if header == "x-gradio-server" else "evil.example"
        assert _client().get("/", headers={header: value}).status_code == 421


def test_an_allowed_host_is_answered_and_may_be_an_origin() -> None:
    client = _client(allowed_hosts=("lora.lab", "0.0.0.0"))

    assert client.get("/", headers={"host": "lora.lab:8080"}).status_code == 200
    assert client.get("/", headers={"origin": "https://lora.lab"}).status_code == 200
    assert client.get("/", headers={"host": "0.0.0.0"}).status_code == 421


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1:3000",
        "http://localhost:7860",
        "file://127.0.0.1:7860",
        "http://127.0.0.1:7860@evil.example",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_pages_of_other_origins_are_refused(origin: str, method: str) -> None:
    answer = _client().request(method, "/gradio_api/queue/join", headers={"origin": origin})

    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_our_own_origin_is_let_through() -> None:
    assert _client().post("/", headers={"origin": f"http://{HOST}"}).status_code == 200


def test_another_site_may_link_here_but_not_load_parts() -> None:
    client = _client()
    linked = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    loaded = {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}

    assert client.get("/runs", headers=linked).status_code == 200
    assert client.get("/gradio_api/info", headers=loaded).status_code == 403


@pytest.mark.parametrize("prefix", ["", "/zh"])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/gradio_api/file=https://example.com/x.png", 403),
        ("/gradio_api/file=HTTP://example.com/x.png", 403),
        ("/gradio_api/file=%68ttps://example.com/", 403),
        ("/gradio_api/file=%2568ttps%253A//example.com/", 403),
        ("/gradio_api/file/https://example.com/x", 403),
        ("/gradio_api/proxy=https://x.hf.space/", 403),
        ("/gradio_api/vibe-edit", 404),
        ("/gradio_api/run-history/connect", 404),
        ("/gradio_api/process_recording", 404),
        ("/gradio_api/mcp/sse", 404),
        ("/monitoring", 404),
        ("/login", 404),
    ],
)
def test_what_reaches_outside_or_is_not_used_is_refused(
    prefix: str, path: str, status: int
) -> None:
    assert _client().get(prefix + path).status_code == status


@pytest.mark.parametrize("prefix", ["", "/zh"])
@pytest.mark.parametrize(
    "path",
    ["/", "/train", "/gradio_api/file=/tmp/a.csv", "/gradio_api/queue/data", "/assets/x.js"],
)
def test_what_the_pages_need_is_let_through(prefix: str, path: str) -> None:
    assert _client().get(prefix + path).status_code == 200


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/zh/gradio_api/upload"])
def test_an_upload_is_refused_by_its_announced_length(path: str) -> None:
    client = _client(max_upload_mb=1)

    assert client.post(path, content=b"x" * MEGABYTE).text == f"{path} {MEGABYTE}"
    answer = client.post(path, content=b"x" * (MEGABYTE + MULTIPART_BYTES + 1))
    assert answer.status_code == 413
    assert "1 MB" in answer.text
    assert "LORA_MAX_UPLOAD_MB" in answer.text


def test_an_upload_without_a_length_is_counted() -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * 100_000

    answer = _client(max_upload_mb=1).post("/gradio_api/upload", content=parts())

    assert answer.status_code == 413


@pytest.mark.parametrize(
    "path", ["/gradio_api/queue/join", "/zh/gradio_api/queue/join", "/zh/zh/gradio_api/upload"]
)
def test_a_body_that_is_no_upload_is_limited_harder(path: str) -> None:
    answer = _client(max_upload_mb=500).post(path, content=b"x" * 9_000_000)

    assert answer.status_code == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "ten", "٣"])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    headers = {"content-length": length.encode("utf-8"), "host": HOST}

    assert _client().post("/", headers=headers).status_code == 400


def _refused(path: str, headers: list[tuple[bytes, bytes]]) -> tuple[int, int]:
    """The status of a request whose body never ends, and how much of it is taken afterwards."""
    sent: list[dict] = []
    taken: list[int] = []
    scope = {"type": "http", "path": path, "method": "POST", "headers": headers}

    async def receive() -> dict:
        assert b"LORA_MAX_UPLOAD_MB" in sent[1]["body"], "the body was read before the answer"
        taken.append(MEGABYTE)
        return {"type": "http.request", "body": b"x" * MEGABYTE, "more_body": True}

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(Guard(Starlette(), (), 1)(scope, receive, send))
    assert not sent[-1].get("more_body")
    return sent[0]["status"], sum(taken)


def test_what_uploads_left_behind_is_swept_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in quiet_gradio.QUIET:
        monkeypatch.setenv(name, "")  # put back when the test ends
    folder = tmp_path / "gradio"
    for age_h in (1, 25):
        left = folder / str(age_h) / "rows.csv"
        left.parent.mkdir(parents=True)
        left.write_text("a,b")
        os.utime(left, times=(time.time() - 3600 * age_h,) * 2)

    quiet_gradio.quiet_environment(tmp_path)

    assert [path.name for path in folder.iterdir()] == ["1"]
    assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_two_hosts_are_refused() -> None:
    assert _refused("/", [(b"host", b"127.0.0.1"), (b"host", b"evil.example")]) == (421, 0)


def test_a_body_announced_too_large_is_answered_first_and_taken_only_so_far() -> None:
    announced = [(b"host", b"127.0.0.1"), (b"content-length", b"2000000")]

    assert _refused("/gradio_api/upload", announced) == (413, THROWN_AWAY_BYTES)


def test_every_answer_carries_the_safety_headers() -> None:
    for answer in (_client().get("/"), _client().get("/", headers={"host": "evil.example"})):
        for name, value in ANSWER_HEADERS.items():
            assert answer.headers[name] == value
    policy = ANSWER_HEADERS["Content-Security-Policy"]
    assert "connect-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy


def test_a_foreign_websocket_is_closed() -> None:
    client = _client()
    with client.websocket_connect("/socket", headers={"origin": f"http://{HOST}"}):
        pass
    with pytest.raises(WebSocketDisconnect) as closed:
        with client.websocket_connect("/socket", headers={"origin": "http://evil.example"}):
            pass
    assert closed.value.code == 1008


@pytest.mark.parametrize(
    ("netloc", "host"),
    [
        ("example.com:80", "example.com"),
        ("[::1]:7860", "::1"),
        ("EXAMPLE.com", "example.com"),
        ("a@b", None),
        ("a b", None),
        ("a:b", None),
        ("", None),
    ],
)
def test_host_names(netloc: str, host: str | None) -> None:
    assert host_name(netloc) == host


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:7860", "http://127.0.0.1:7861"),
        ("127.0.0.1:7860", "http://127.0.0.1"),
        ("127.0.0.1:7860", "http://localhost:7860"),
        ("localhost:7860", "http://127.0.0.1:7860"),
        ("[::1]:7860", "http://127.0.0.1:7860"),
        ("lab.example", "http://lab.example:7861"),
        ("lab.example:8443", "https://lab.example:9000"),
        ("127.0.0.1:7860", "null"),
        ("127.0.0.1:7860", "file://127.0.0.1:7860"),
    ],
)
def test_another_port_or_name_of_this_machine_is_a_foreign_origin(host: str, origin: str) -> None:
    client = _client(allowed_hosts=("lab.example", "lab.example:8443"))
    assert client.post("/", headers={"host": host, "origin": origin}).status_code == 403


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:7860", "http://127.0.0.1:7860"),
        ("localhost:9000", "http://localhost:9000"),  # a tunnel's own port
        ("127.0.0.1:7860", "https://lab.example"),  # a proxy that changes the Host
        ("127.0.0.1:7860", "https://lab.example:8443"),
    ],
)
def test_the_very_address_and_what_is_allowed_are_no_foreign_origin(host, origin) -> None:
    client = _client(allowed_hosts=("lab.example", "lab.example:8443"))
    assert client.post("/", headers={"host": host, "origin": origin}).status_code == 200


def test_an_origin_without_the_proxys_encryption_is_foreign() -> None:
    client = _client(allowed_hosts=("lab.example",))
    said = {"host": "lab.example", "x-forwarded-proto": "https"}
    assert client.post("/", headers={**said, "origin": "https://lab.example"}).status_code == 200
    assert client.post("/", headers={**said, "origin": "http://lab.example"}).status_code == 403


def test_an_address_may_stand_in_host_where_everybody_is_asked() -> None:
    app = Starlette(routes=[Route("/", _echo)])
    asked = TestClient(Guard(app, [], 1, "0.0.0.0", any_address=True))
    assert asked.get("/", headers={"host": "192.168.1.5:7860"}).status_code == 200
    assert asked.get("/", headers={"host": "rebound.example:7860"}).status_code == 421


def test_named_sites_may_frame_the_dashboard_and_no_others() -> None:
    app = Starlette(routes=[Route("/", _echo)])
    framed = TestClient(Guard(app, [], 1, frame_ancestors=["https://a.example"]))
    headers = framed.get("/", headers={"host": HOST}).headers
    assert "frame-ancestors https://a.example" in headers["content-security-policy"]
    assert "x-frame-options" not in headers
    assert _client().get("/").headers["x-frame-options"] == "DENY"
