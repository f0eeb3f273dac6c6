"""A newcomer's clock: from `make run` to the first answer of an adapter of one's own, in Chromium.

    python benchmarks/newcomer.py [--json] [--plainly]

On an installed tree, with a fresh data folder. What a newcomer does is done as they do it, by role
and label: open the address, go to Train, wait for the forecast, press Start, watch the first points
and the end of the run, go to Compare and ask a question. Each figure is seconds on the wall from
the step before, and the machine's load stands beside them. `--plainly` starts `python app.py` in
place of `make run`, where the tree's environment is shared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import _path  # noqa: F401
from playwright.sync_api import Page, expect, sync_playwright

from pages import TRAIN

ROOT = Path(__file__).resolve().parents[1]
QUESTION = "What colour is the sky?"
POINTS = "document.querySelector('#loss-curve .rs-plot')?.data?.[0]?.x?.length ?? 0"
LONG_MS = 600_000
TARGETS = {"rows_and_steps": 3.0, "memory_and_time": 6.0}  # seconds from the click on Train


class Clock:
    """Seconds from one lap to the next, by name."""

    def __init__(self) -> None:
        self._begun = self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._last = round(now - self._last, 2), now

    @property
    def total(self) -> float:
        return round(self._last - self._begun, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--plainly", action="store_true", help="python app.py, not make run")
    options = parser.parse_args()
    command = [sys.executable, "app.py"] if options.plainly else ["make", "run"]
    before = os.getloadavg()[0]
    clock = measured(command)
    found = {
        "seconds": clock.laps,
        "total_s": clock.total,
        "targets": TARGETS,
        "load": {"before": round(before, 1), "after": round(os.getloadavg()[0], 1)},
        "cores": os.cpu_count(),
    }
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for name, seconds in clock.laps.items():
        target = f"   target: at most {TARGETS[name]:g}" if name in TARGETS else ""
        print(f"{name.replace('_', ' '):24}{seconds:8.2f} s{target}")
    print(f"{'together':24}{clock.total:8.2f} s")
    print(f"load {found['load']['before']} before, {found['load']['after']} after, "
          f"{found['cores']} cores")  # fmt: skip


def measured(command: list[str]) -> Clock:
    """The whole walk. The browser is started before the clock."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        found = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800}, locale="en-US")
        page.set_default_timeout(LONG_MS)
        expect.set_options(timeout=LONG_MS)
        clock = Clock()
        with started(command, Path(folder)) as url:
            clock.lap("served")
            walk(page, url, clock)
        browser.close()
    return clock


def walk(page: Page, url: str, clock: Clock) -> None:
    """From the first page to the first answer."""
    page.goto(url)
    page.get_by_role("heading", level=1).first.wait_for()
    clock.lap("first_page")
    forecast(page, clock)
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/runs?run=*")
    clock.lap("run_page")
    page.wait_for_function(f"{POINTS} >= 2")
    clock.lap("first_points")
    expect(page.locator("#run-heading").get_by_role("status")).to_have_text("finished")
    clock.lap("finished")
    page.get_by_role("link", name="Compare with the base").click()
    page.get_by_label("Your question").fill(QUESTION)
    clock.lap("compare_page")
    page.get_by_role("button", name="Ask", exact=True).click()
    answer = page.locator("#column-1").get_by_test_id("bot").last
    expect(answer).not_to_be_empty()
    clock.lap("first_answer")


def forecast(page: Page, clock: Clock) -> None:
    """Train is opened; then what stands beside Start, in two steps."""
    page.get_by_role("link", name=TRAIN.title, exact=True).click()
    clicked = time.perf_counter()
    figures = page.locator("#run-figures")
    for name, terms in (("rows_and_steps", ("Rows", "Steps")), ("memory_and_time", ("Time",))):
        for term in terms:
            figure = figures.locator("div").filter(has=page.get_by_text(term, exact=True)).last
            expect(figure).not_to_contain_text("…")
        clock.lap(name)
        clock.laps[name] = round(time.perf_counter() - clicked, 2)


@contextmanager
def started(command: list[str], data_dir: Path) -> Iterator[str]:
    """The address of the server that this command starts in the tree, once it answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {
        **os.environ, "HOST": "127.0.0.1", "PORT": str(port), "LORA_DATA_DIR": str(data_dir),
    }  # fmt: skip
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while not answers(port):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended before it served a page.")
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60) as answer:
            return answer.status == 200
    except OSError:
        return False


if __name__ == "__main__":
    main()
