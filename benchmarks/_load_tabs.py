"""Tabs that watch a run as `pages/runs/static/news.js` does, without a browser to draw what comes.

They run in a thread, so that their load can go on while something else is measured. Each has a
connection of its own, asks every two seconds from a moment of its own on, says what it has, and
waits longer where an answer took long.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

import _path  # noqa: F401

from pages.runs.page import REFRESH_S
from pages.runs.run_table import DEFAULT
from pages.runs.watching import PATH, REST

PATIENCE_S = 30.0


@dataclass
class Answers:
    """What the tabs were answered. seconds: of each answer, from the asking to its last byte."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    new: int = 0
    bytes: int = 0

    def percentile(self, share: float) -> float:
        found = sorted(self.seconds)
        return found[min(len(found) - 1, int(share * len(found)))] if found else float("nan")


@contextmanager
def watching(url: str, run_id: str, tabs: int, answers: Answers) -> Iterator[None]:
    """So many tabs watch the run; what they are answered is added to `answers`."""
    ended = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_all(url, run_id, tabs, answers, ended)))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def _all(url: str, run_id: str, tabs: int, answers: Answers, ended: threading.Event) -> None:
    watching_tabs = [asyncio.create_task(_tab(url, run_id, answers)) for _ in range(tabs)]
    while not ended.is_set():
        await asyncio.sleep(0.1)
    for tab in watching_tabs:
        tab.cancel()
    await asyncio.gather(*watching_tabs, return_exceptions=True)


async def _tab(url: str, run_id: str, answers: Answers) -> None:
    given = {"run": run_id, "columns": ",".join(DEFAULT), "over": "steps"}
    known = "{}"
    await asyncio.sleep(random.random() * REFRESH_S)  # noqa: S311 - no secret
    connection = Connection(url)
    while True:
        began = time.perf_counter()
        try:
            query = urlencode({"lang": "en", "known": known, **given})
            status, body = await asyncio.wait_for(connection.get(f"{PATH}?{query}"), PATIENCE_S)
        except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError) as error:
            answers.errors.append(repr(error))
            connection.close()
            await asyncio.sleep(REFRESH_S)
            continue
        took = time.perf_counter() - began
        answers.seconds.append(took)
        answers.bytes += len(body)
        if status == 200:
            answers.new += 1
            known = _fingerprint(body)
        elif status != 204:
            answers.errors.append(f"status {status}")
        await asyncio.sleep(max(REFRESH_S - took, REST * took))


def _fingerprint(body: bytes) -> str:
    """The one that stands at the head of an answer, whose curves nobody here draws."""
    head = body[:2000].decode("utf-8", "replace")
    start = head.index('"fingerprint":') + len('"fingerprint":')
    return str(json.JSONDecoder().raw_decode(head[start:])[0])


class Connection:
    """A kept connection to the server, with as little work for this side as can be."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str, more: str = "") -> tuple[int, bytes]:
        """Status and body. more: header lines, each with its end."""
        return await self.ask(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n{more}\r\n".encode())

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            host, port = self._host.split(":")
            self._streams = await asyncio.open_connection(host, int(port), limit=2**20)
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        body = await self._body(reader, head) if status != 204 else b""
        if b"\r\nconnection: close" in head:
            self.close()
        return status, body

    async def _body(self, reader: asyncio.StreamReader, head: bytes) -> bytes:
        _, found, rest = head.partition(b"content-length: ")
        if found:
            return await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
        parts = []
        while size := int(await reader.readline(), 16):
            parts.append((await reader.readexactly(size + 2))[:-2])
        await reader.readline()
        return b"".join(parts)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
