"""The server's own side of the promise: building and serving the pages calls no other machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, socket, sys, time

called = []
real_connect, real_lookup = socket.socket.connect, socket.getaddrinfo

def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
        called.append(str(address))
    return real_connect(self, address)

def lookup(host, *args, **kwargs):
    if host not in (None, "127.0.0.1", "localhost", "::1"):
        called.append(str(host))
        raise OSError("no network here")
    return real_lookup(host, *args, **kwargs)

socket.socket.connect, socket.getaddrinfo = connect, lookup

import app
from lora_engine.environment import load_settings
from starlette.testclient import TestClient

with TestClient(app.create_app(load_settings()), headers={"host": "127.0.0.1"}) as client:
    answers = {path: client.get(path).status_code for path in json.loads(sys.argv[1])}
    time.sleep(1)  # for what a thread would send
print(json.dumps({"called": called, "answers": answers}))
"""


def test_no_page_makes_the_server_call_outside(tmp_path: Path) -> None:
    paths = ["/", "/train", "/runs", "/compare", "/adapters", "/config", "/gradio_api/info"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(paths)],
        cwd=ROOT,
        env={"LORA_DATA_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])

    assert found["answers"] == dict.fromkeys(paths, 200)
    assert found["called"] == []
