"""Memory after many browser sessions: the real ASGI app in this process, asked as a browser asks.

Half of the tabs fetch their answer, half go before it comes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

from app import create_app
from lora_engine.environment import load_settings
from lora_engine.host_memory import give_back_freed_memory

SESSIONS = 2000
ALLOWED_BYTES = 60 * 2**20
HEADERS = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_DATA_DIR", str(tmp_path))
    return load_settings()


@pytest.mark.slow
def test_two_thousand_sessions_leave_no_memory_behind(settings):
    before, after, kept = asyncio.run(_memory_of_sessions(settings))
    assert after - before < ALLOWED_BYTES
    assert kept <= 1000


class WaitedFor(asyncio.Queue):
    """What a session is to be told, and whether a stream waits for more of it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = asyncio.Event()

    async def get(self) -> Any:
        self.waits.set()
        return await super().get()


def test_a_page_that_cut_its_stream_is_still_known_when_it_opens_another(settings):
    """As a page does that is left: it lives until the next one comes."""

    async def opened_again() -> bytes:
        async with _served(settings) as (app, dashboard):
            untold, gone = dashboard._queue.pending_messages_per_session, asyncio.Event()
            waited_for = untold["left"] = WaitedFor()
            stream = asyncio.create_task(_stream(app, "left", gone=gone))
            await waited_for.waits.wait()
            gone.set()
            await stream
            event = _opening(dashboard)
            assert "left" in untold
            again = asyncio.create_task(_stream(app, "left"))
            await _join(app, event, "left")
            return await again

    assert b'"success":true' in asyncio.run(opened_again())


def test_a_session_keeps_what_its_own_page_changed(settings):
    """A field that a handler gave other choices is checked against these, in that tab alone."""

    async def both() -> tuple[Any, Any, Any]:
        async with _served(settings) as (app, dashboard):
            changed = next(
                key for key, block in dashboard.blocks.items() if hasattr(block, "choices")
            )
            mine, other = (dashboard.app.state_holder[name] for name in ("mine", "other"))
            block = mine[changed]
            mine[changed] = type(block)(choices=["only here"], render=False)
            return mine[changed].choices, other[changed], dashboard.blocks[changed]

    mine, other, original = asyncio.run(both())
    assert mine == [("only here", "only here")]
    assert other is original


async def _memory_of_sessions(settings: Any) -> tuple[int, int, int]:
    """Resident bytes before and after, and the states that are kept at the end."""
    async with _served(settings) as (app, dashboard):
        event = _opening(dashboard)
        for number in range(50):  # what is loaded once
            await _session(app, event, f"first{number}", number)
        before = _resident()
        for number in range(SESSIONS):
            await _session(app, event, f"s{number}", number)
        return before, _resident(), len(dashboard.app.state_holder.session_data)


def _opening(dashboard: Any) -> int:
    """The event in which the runs page opens its tab: quick, and it changes a component."""
    return next(key for key, fn in dashboard.fns.items() if fn.api_name == "page_choose_tab")


async def _session(app: Any, event: int, name: str, number: int) -> None:
    if number % 500 == 0:
        config = await _ask(app, "GET", "/config")
        assert json.loads(config)["components"]
    await _ask(app, "GET", f"/gradio_api/heartbeat/{name}", chunks=1)
    await _join(app, event, name)
    if number % 2:
        assert b'"success":true' in await _stream(app, name)


async def _join(app: Any, event: int, session: str) -> None:
    """Ask for an event, as a press of its button does."""
    asked = {"data": [], "fn_index": event, "session_hash": session, "trigger_id": None}
    await _ask(app, "POST", "/gradio_api/queue/join", json.dumps(asked).encode())


async def _stream(app: Any, session: str, **leaves: Any) -> bytes:
    """What a session is told."""
    query = f"session_hash={session}"
    return await _ask(app, "GET", "/gradio_api/queue/data", query=query, **leaves)


@asynccontextmanager
async def _served(settings: Any) -> AsyncIterator[tuple[Any, Any]]:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app, app.routes[-1].app.get_blocks()


async def _ask(
    app: Any,
    method: str,
    path: str,
    body: bytes = b"",
    query: str = "",
    chunks: int = 0,
    gone: asyncio.Event | None = None,
) -> bytes:
    """The body of the answer. chunks: leave after so many of a stream's; gone: when it is set."""
    given: list[Mapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]
    came: list[bytes] = []
    gone, status = gone or asyncio.Event(), 0

    async def receive() -> Mapping[str, Any]:
        if given:
            return given.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)
        if message["type"] == "http.response.body":
            came.append(message.get("body", b""))
            if len(came) == chunks:
                gone.set()

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": query.encode(), "headers": HEADERS, "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 7860), "state": {},
    }  # fmt: skip
    await asyncio.wait_for(app(scope, receive, send), timeout=60)
    assert status == 200, (path, status, came)
    return b"".join(came)


def _resident() -> int:
    give_back_freed_memory()
    return psutil.Process().memory_info().rss
