"""A server of a benchmark's own: a Python program on a free port, until the block ends."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DASHBOARD = ("app.py",)
START_S = 120


@contextmanager
def served(data_dir: Path, program: Sequence[str] = DASHBOARD) -> Iterator[str]:
    """The address of `python *program`, which reads PORT and LORA_DATA_DIR.

    Raises SystemExit where it ends or answers nothing in two minutes.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {
        **os.environ,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "LORA_DATA_DIR": str(data_dir),
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    process = subprocess.Popen(
        [sys.executable, *program],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_served(url, process)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait_until_served(url: str, process: subprocess.Popen) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=30).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the server did not start")
