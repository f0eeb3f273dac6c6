"""Takes the pictures of the documentation: `python docs/make_pictures.py`.

Starts a dashboard on a fresh data folder and photographs the pages in a real browser, then trains
the pirate example and photographs its run. About two minutes on two cores.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
SETTLE_MS = 5000
ADDRESSES = {
    "learn": "/learn",
    "calculator": "/",
    "spectrum": "/spectrum",
    "train": "/train",
    "compare": "/compare?adapter=starter:pirate-adapter",
    "adapters": "/adapters",
    "learn-zh": "/zh/learn",
    "calculator-zh": "/zh/",
}


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as data_dir:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        environment = {**os.environ, "LORA_DATA_DIR": data_dir}
        url = f"http://127.0.0.1:{port}"
        server = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port)], cwd=ROOT, env=environment
        )
        try:
            _wait_for_server(url)
            _take_pictures(url)
        finally:
            server.terminate()
            server.wait()


def _wait_for_server(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=2)
            return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise SystemExit("the dashboard did not start")


def _take_pictures(url: str) -> None:
    import shutil

    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 860}, locale="en-US")
        for name, address in ADDRESSES.items():
            page.goto(url + address, wait_until="networkidle", timeout=120_000)
            page.wait_for_timeout(SETTLE_MS)
            page.screenshot(path=PICTURES / f"{name}.png")

        page.goto(f"{url}/train")
        page.get_by_role("button", name="Start training").click()
        page.wait_for_url("**/runs?run=*")
        page.get_by_role("link", name="Compare with the base").wait_for(timeout=300_000)
        page.wait_for_timeout(SETTLE_MS)
        page.evaluate("window.scrollTo(0, 0)")
        page.screenshot(path=PICTURES / "runs.png")
        browser.close()


if __name__ == "__main__":
    main()
