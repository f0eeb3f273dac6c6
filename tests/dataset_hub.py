"""A small dataset hub over HTTP: what `datasets` asks for when it reads a set, kept in memory.

It speaks a set's state at a revision, its tree, facts of single paths, and the files themselves. A
private set is answered only to its token; anybody else gets an error that repeats what was sent.
A server of its own, not a stand-in for any function of ours.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote

TOKEN = "hf_qwertyuiopasdfghjklzxcvbnm"
ERROR_CODES = {401: "RepoNotFound", 404: "EntryNotFound"}
REVISION = hashlib.sha1(b"a set").hexdigest()


@dataclass
class HubSet:
    """The files of a set by path. token: who may read it; empty for everybody. breaks: files that
    are listed and cannot be had."""

    files: dict[str, bytes]
    token: str = ""
    breaks: tuple[str, ...] = ()


@dataclass
class HubSets:
    """sets by id. asked: method, path and the token that was sent."""

    endpoint: str = ""
    sets: dict[str, HubSet] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)


class DatasetHub(BaseHTTPRequestHandler):
    state: HubSets

    def do_GET(self) -> None:
        self._answer(b"")

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, body: bytes) -> None:
        path = unquote(self.path.partition("?")[0])
        sent = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.state.asked.append((self.command, path, sent))
        words = path.removeprefix("/api").removeprefix("/datasets/").split("/")
        found = self.state.sets.get("/".join(words[:2]))
        if found is None or (found.token and sent != found.token):
            told = f"Invalid username or password: {sent}"
            return self._send(401, json.dumps({"error": told}).encode(), error=told)
        if path.startswith("/api/"):
            return self._facts(found, "/".join(words[:2]), words[2:], body)
        name = "/".join(words[4:])
        if name not in found.files or name in found.breaks:
            return self._send(404, b"{}", error=f"no {name} for {sent}")
        return self._send(200, found.files[name], etag=_digest(found.files[name]))

    def _facts(self, found: HubSet, name: str, words: list[str], body: bytes) -> None:
        entries = [
            {"type": "file", "path": path, "size": len(content), "oid": _digest(content)}
            for path, content in found.files.items()
        ]
        if words[:1] == ["tree"]:
            below = "/".join(words[2:])
            document = [one for one in entries if one["path"].startswith(below)]
        elif words[:1] == ["paths-info"]:
            asked = parse_qs(body.decode())["paths"]
            folders = {"/".join(path.split("/")[:end]) for path in found.files for end in (1, 2)}
            document = [one for one in entries if one["path"] in asked] + [
                {"type": "directory", "path": path, "oid": REVISION}
                for path in asked
                if path in folders - {*found.files}
            ]
        else:
            siblings = [{"rfilename": path, "size": len(c)} for path, c in found.files.items()]
            document = {"id": name, "sha": REVISION, "private": bool(found.token)}
            document |= {"siblings": siblings, "tags": [], "downloads": 0, "likes": 0}
        self._send(200, json.dumps(document).encode())

    def _send(self, status: int, content: bytes, error: str = "", etag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Repo-Commit", REVISION)
        if error:
            self.send_header("X-Error-Message", error)
        if status in ERROR_CODES:
            self.send_header("X-Error-Code", ERROR_CODES[status])
        if etag:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        pass


@contextmanager
def running_dataset_hub() -> Iterator[HubSets]:
    """Within: a hub of its own on a free port of this machine."""
    state = HubSets()
    handler = type("OfTest", (DatasetHub,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    state.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
