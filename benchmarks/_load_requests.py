"""Requests of every kind that a dashboard is sent, many times over, and the memory that stays."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlencode, urlsplit

import _path  # noqa: F401
import psutil
from _load_tabs import Connection

from pages import PAGES
from pages.runs.watching import PATH
from pages.shared import static_files

AT_ONCE = 4
MIB = 2**20
FORM = "rankscope-benchmark"

Kind = Callable[[Connection, int], Awaitable[int]]


def growth(url: str, server: psutil.Process, warm: int, requests: int) -> dict:
    """By how many MiB the server has grown over the requests, after `warm` others; and the answers
    by their status."""
    kinds = asyncio.run(_kinds(url))
    asyncio.run(_send(url, kinds, range(warm)))
    before = server.memory_info().rss
    statuses = asyncio.run(_send(url, kinds, range(warm, warm + requests)))
    after = server.memory_info().rss
    return {
        "requests": requests,
        "kinds": len(kinds),
        "before_mib": before / MIB,
        "grown_mib": (after - before) / MIB,
        "answers": {str(status): count for status, count in sorted(statuses.items())},
        "errors": statuses.get(500, 0),
    }


async def _send(url: str, kinds: Mapping[str, Kind], numbers: range) -> Counter[int]:
    statuses: Counter[int] = Counter()
    left = iter(numbers)

    async def work() -> None:
        connection = Connection(url)
        for number in left:
            kind = list(kinds.values())[number % len(kinds)]
            statuses[await kind(connection, number)] += 1
        connection.close()

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return statuses


async def _kinds(url: str) -> dict[str, Kind]:
    """By name: what is sent. `number` makes each its own where that could stay in memory."""
    host = urlsplit(url).netloc
    connection = Connection(url)
    _, config = await connection.get("/config")
    opening = next(
        event["id"]
        for event in json.loads(config)["dependencies"]
        if event["api_name"] == "page_choose_tab"
    )
    connection.close()

    def got(path: str, more: str = "") -> Kind:
        async def kind(connection: Connection, number: int) -> int:
            return (await connection.get(path.replace("{n}", str(number)), more))[0]

        return kind

    def posted(path: str, body: Callable[[int], bytes], media: str = "application/json") -> Kind:
        async def kind(connection: Connection, number: int) -> int:
            return (await connection.ask(_post(host, path, body(number), media)))[0]

        return kind

    async def event(connection: Connection, number: int) -> int:
        session = f"s{number}"
        asked = {"data": [], "fn_index": opening, "session_hash": session, "trigger_id": None}
        body = json.dumps(asked).encode()
        await connection.ask(_post(host, "/gradio_api/queue/join", body, "application/json"))
        return (await connection.get(f"/gradio_api/queue/data?session_hash={session}"))[0]

    def file(number: int) -> bytes:
        head = 'Content-Disposition: form-data; name="files"; filename="rows.csv"'
        return f"--{FORM}\r\n{head}\r\n\r\na,b\n{number},2\n\r\n--{FORM}--\r\n".encode()

    watched = {"lang": "en", "known": "{}", "columns": "id", "run": "", "find": "{n}"}
    nothing = json.dumps({"data": []}).encode()
    return {
        **{f"page {page.path}": got(page.path) for page in PAGES},
        "page in Chinese": got("/zh/runs"),
        "configuration": got("/config"),
        "style": got(static_files.address("shared/rankscope.css")),
        "script": got(static_files.address("shared/plot.js")),
        "health": got("/healthz"),
        "watching": got(f"{PATH}?{urlencode(watched, safe='{}')}"),
        "event": event,
        "event that nobody fetches": posted(
            "/gradio_api/queue/join",
            lambda number: json.dumps(
                {"data": [], "fn_index": opening, "session_hash": f"left{number}"}
            ).encode(),
        ),
        "endpoint": posted("/gradio_api/run/runs", lambda _: nothing),
        "upload": posted("/gradio_api/upload", file, f"multipart/form-data; boundary={FORM}"),
        "missing adapter": got("/rankscope/adapter.zip?adapter=none{n}"),
        "missing matrix": got("/rankscope/spectrum/none{n}/factors"),
        "missing comparison": got("/rankscope/comparison/none{n}.json"),
        "missing page": got("/none{n}"),
        "foreign origin": got("/runs", "Origin: http://evil.example\r\n"),
        "foreign file": got("/gradio_api/file=/etc/passwd{n}"),
        "broken event": posted("/gradio_api/queue/join", lambda number: b"{" * (number % 100)),
    }


def _post(host: str, path: str, body: bytes, media: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {media}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
