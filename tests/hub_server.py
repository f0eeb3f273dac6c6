"""A small model hub over HTTP: what huggingface_hub asks for when it pushes, kept in memory.

It speaks whoami, creating a repository, its state at a revision, the check of a card, the two ways
of sending files (inside the commit, and git LFS), and the commit itself. `HubState` says what it
knows and how it misbehaves. A server of its own, not a stand-in for any function of ours.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz"
LFS_FROM = 4_000  # bytes; the real one decides by the kind of file


@dataclass
class Repository:
    """Its commits, oldest first: id to files by name."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.head]

    @property
    def head(self) -> str:
        return [*self.commits][-1]

    def commit(self, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(str(len(self.commits)).encode()).hexdigest()
        self.commits[oid] = files
        return oid


@dataclass
class HubState:
    """repositories by id. refuse: start of a path to the status it is answered with; loses: a file
    that a commit silently forgets; asked: every method and path."""

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    refuse: dict[str, int] = field(default_factory=dict)
    loses: str = ""
    asked: list[str] = field(default_factory=list)

    def add(self, name: str, private: bool, files: dict[str, bytes]) -> Repository:
        repository = Repository(private)
        repository.commit({".gitattributes": b"", **files})
        self.repositories[name] = repository
        return repository


class Hub(BaseHTTPRequestHandler):
    state: HubState

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    do_PUT = do_POST

    def _answer(self, body: bytes) -> None:
        path = self.path.partition("?")[0]
        self.state.asked.append(f"{self.command} {path}")
        status = next((s for p, s in self.state.refuse.items() if path.startswith(p)), None)
        if status is not None:
            return self._send(status, {"error": f"refused, token {TOKEN}, file /srv/hub/x.py"})
        if path.startswith("/lfs/"):  # its address is the right to it, as with the real one's
            self.state.objects[path.removeprefix("/lfs/")] = body
            return self._send(200, {})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send(401, {"error": "Invalid username or password."})
        if path == "/api/whoami-v2":
            return self._send(200, {"type": "user", "name": "me", "orgs": [{"name": "we"}]})
        if path == "/api/validate-yaml":
            return self._send(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._lfs(json.loads(body))
        return self._of_repository(path, body)

    def _create(self, asked: dict) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        known = name in self.state.repositories
        if not known:
            self.state.add(name, asked.get("visibility") == "private", {})
        self._send(409 if known else 200, {"url": f"{self.state.endpoint}/{name}"})

    def _lfs(self, asked: dict) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.state.endpoint}/lfs/{one['oid']}"}}}
            for one in asked["objects"]
        ]
        self._send(200, {"transfer": "basic", "objects": objects})

    def _of_repository(self, path: str, body: bytes) -> None:
        words = path.removeprefix("/api/models/").split("/")
        name = "/".join(words[:2])
        repository = self.state.repositories.get(name)
        if repository is None:
            return self._send(404, {"error": "Not found"}, {"X-Error-Code": "RepoNotFound"})
        if words[2:3] == ["preupload"]:
            files = json.loads(body)["files"]
            modes = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["size"] >= LFS_FROM else "regular",
                    "shouldIgnore": False,
                }
                for one in files
            ]
            return self._send(200, {"files": modes})
        if words[2:3] == ["commit"]:
            return self._commit(name, repository, body)
        revision = words[3] if words[2:3] == ["revision"] else repository.head
        files = repository.commits[revision]
        siblings = [{"rfilename": one, "size": len(files[one])} for one in files]
        document = {"id": name, "sha": revision, "private": repository.private}
        return self._send(200, {**document, "siblings": siblings})

    def _commit(self, name: str, repository: Repository, body: bytes) -> None:
        header, *lines = map(json.loads, body.splitlines())
        if header["value"].get("parentCommit", repository.head) != repository.head:
            return self._send(412, {"error": "A commit has happened since."})
        files = dict(repository.files)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.state.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        files.pop(self.state.loses, None)
        oid = repository.commit(files)
        url = f"{self.state.endpoint}/{name}/commit/{oid}"
        return self._send(200, {"success": True, "commitOid": oid, "commitUrl": url})

    def _send(self, status: int, document: dict, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        length = {"Content-Length": str(len(content)), "Content-Type": "application/json"}
        for name, value in {**(headers or {}), **length}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        pass


@contextmanager
def running_hub() -> Iterator[HubState]:
    """Within: a hub of its own on a free port of this machine."""
    state = HubState()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfTest", (Hub,), {"state": state}))
    state.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
