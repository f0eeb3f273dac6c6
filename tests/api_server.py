"""A real server of the API for the tests: a process of its own on the starter and its adapters."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lora_engine.base_models import BaseModel, fingerprint

KEY = "sk-not-a-secret-0123456789"
START_S = 240


@dataclass(frozen=True)
class ServedApi:
    """address: ends in /v1."""

    address: str
    data_dir: Path
    process: subprocess.Popen


def save_served_adapter(data_dir: Path, name: str, base: BaseModel, **choices) -> Path:
    """An adapter in the library, with the provenance that ties it to its base."""
    from tests.compare_models import save_adapter

    folder = save_adapter(data_dir / "adapters" / name, base, **choices)
    provenance = {"base_model": base.name, "base_fingerprint": fingerprint(base)}
    (folder / "provenance.json").write_text(json.dumps(provenance), "utf-8")
    return folder


@contextmanager
def served_api(data_dir: Path, *options: str, **environment: str) -> Iterator[ServedApi]:
    """`serve --api` on a free port until the block ends."""
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "key").write_text(KEY + "\n", "utf-8")
    command = [sys.executable, "-m", "lora_engine", "serve", "--port", "0", "--api"]
    log = data_dir / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--api-key-file", str(data_dir / "key"), *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "HF_HUB_OFFLINE": "1",
                "LORA_DATA_DIR": str(data_dir),
                "LORA_DEVICE": "cpu",
                "OMP_NUM_THREADS": "1",
                **environment,
            },
        )
    try:
        yield ServedApi(_address(process, log), data_dir, process)
    finally:
        process.terminate()
        process.wait(30)


def _address(process: subprocess.Popen, log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"The API of \S+ is at (\S+)", log.read_text("utf-8"))
        if found:
            return found[1]
        time.sleep(0.1)
    raise AssertionError(f"The server did not start:\n{log.read_text('utf-8')[-3000:]}")
