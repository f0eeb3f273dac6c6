"""Adapters from the model hub, which a server of this test answers for."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import HfApi, constants

from lora_engine.adapters import importing
from lora_engine.adapters.config import CONFIG_FILE, WEIGHTS_FILE
from lora_engine.errors import EngineError, NotFound


class Hub(BaseHTTPRequestHandler):
    """As much of a model hub as one download asks of it."""

    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/org/pirate/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in self.files.items()
            ]
            return self._send(200, json.dumps(tree).encode(), body, {})
        if path.startswith("/api/models/org/pirate"):
            siblings = [
                {"rfilename": name, "size": len(content)} for name, content in self.files.items()
            ]
            document = {"id": "org/pirate", "sha": "c" * 40, "siblings": siblings}
            return self._send(200, json.dumps(document).encode(), body, {})
        name = path.rpartition("/")[2]
        if path.startswith("/org/pirate/resolve/") and name in self.files:
            content = self.files[name]
            self.asked.append(name)
            headers = {"X-Repo-Commit": "c" * 40, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
            return self._send(200, content, body, headers)
        return self._send(404, b"", body, {"X-Error-Code": "RepoNotFound"})

    def _send(self, status: int, content: bytes, body: bool, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def hub(adapter, monkeypatch):
    """A hub with the adapter and files that are none of its own: (its api, what was fetched)."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    files = {file.name: file.read_bytes() for file in adapter.iterdir()}
    files |= {"adapter_model.bin": b"\x80\x04", "modeling.py": b"evil", "a/more.safetensors": b""}
    asked: list[str] = []
    handler = type("Answering", (Hub,), {"files": files, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield HfApi(endpoint=f"http://127.0.0.1:{server.server_port}"), files, asked
    server.shutdown()
    server.server_close()


def test_of_a_hubs_repository_the_adapters_files_alone_are_fetched(hub, settings, adapter):
    api, _, asked = hub
    folder = importing.add_from_hub("org/pirate", settings, api=api)
    assert folder == settings.data_dir / "adapters" / "pirate"
    names = {path.name for path in folder.rglob("*")}
    assert names == {CONFIG_FILE, WEIGHTS_FILE, "provenance.json", "README.md"} & {
        path.name for path in adapter.iterdir()
    }
    assert set(asked) == names
    assert (folder / WEIGHTS_FILE).read_bytes() == (adapter / WEIGHTS_FILE).read_bytes()


def test_a_pickle_alone_on_the_hub_is_refused_before_it_is_fetched(hub, settings):
    api, files, asked = hub
    del files[WEIGHTS_FILE]
    with pytest.raises(NotFound, match="adapter_model.bin is not opened"):
        importing.add_from_hub("org/pirate", settings, api=api)
    assert asked == []


def test_an_adapter_too_large_is_refused_before_it_is_fetched(hub, settings, monkeypatch):
    api, _, asked = hub
    monkeypatch.setattr(importing, "MAX_BYTES", 1_000)
    with pytest.raises(EngineError, match="at most 1,000"):
        importing.add_from_hub("org/pirate", settings, api=api)
    assert asked == []


def test_what_the_hub_does_not_know_is_said(hub, settings):
    with pytest.raises(NotFound, match="the hub knows no such model"):
        importing.add_from_hub("org/nothing", settings, api=hub[0])
    assert not list((settings.data_dir / "adapters").glob("*"))


def test_a_full_disk_is_not_said_to_be_the_hubs(hub, settings, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub[0], "snapshot_download", full)
    with pytest.raises(EngineError, match="No space left on device"):
        importing.add_from_hub("org/pirate", settings, api=hub[0])
    assert not list((settings.data_dir / "adapters").glob("*"))


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_that_is_not_reached_is_said_and_nothing_is_left(settings, monkeypatch, offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    api = HfApi(endpoint="http://127.0.0.1:9")
    with pytest.raises(NotFound, match="the hub cannot be reached"):
        importing.add_from_hub("org/pirate", settings, api=api)
    assert not list((settings.data_dir / "adapters").glob("*"))
