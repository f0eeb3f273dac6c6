"""Takes the pictures of the documentation: `python docs/make_pictures.py`.

Starts a dashboard on a fresh data folder and photographs the pages in a real browser, then trains
the pirate example and photographs its run. About two minutes on two cores.
"""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
SETTLE_MS = 5000
SETTLED = """
() => ![...document.querySelectorAll("*")].some(
  (one) => !one.children.length && one.offsetParent && one.textContent.trim() === "…"
)"""
HIDE_FOLDER = """
(folder) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode())
    texts.currentNode.data = texts.currentNode.data.replaceAll(folder, "/home/you/rankscope");
}"""
ADDRESSES = {
    "learn": "/learn",
    "calculator": "/",
    "spectrum": "/spectrum",
    "train": "/train",
    "compare": "/compare?adapter=starter:pirate-adapter",
    "adapters": "/adapters",
    "learn-zh": "/zh/learn",
    "compare-zh": "/zh/compare?adapter=starter:pirate-adapter",
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
            _photograph(page, name)

        page.goto(f"{url}/train", timeout=120_000)
        page.wait_for_function(SETTLED, timeout=300_000)
        page.get_by_role("button", name="Start training").click(timeout=120_000)
        page.wait_for_url("**/runs?run=*", timeout=120_000)
        page.get_by_role("link", name="Compare with the base").wait_for(timeout=900_000)
        _photograph(page, "runs")
        browser.close()


def _photograph(page: Page, name: str) -> None:
    """What is seen of the page once its figures are there, in 256 colors to be small."""
    from PIL import Image

    page.wait_for_timeout(SETTLE_MS)
    page.wait_for_function(SETTLED, timeout=300_000)
    page.evaluate("window.scrollTo(0, 0)")
    page.evaluate(HIDE_FOLDER, str(ROOT))
    seen = Image.open(io.BytesIO(page.screenshot()))
    few = seen.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
    few.save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
