"""The spectrum page in Chromium: from a key to the painted picture, from an upload to a picture.

    python benchmarks/spectrum_browser.py [--json] [--moves 120] [--uploads 3]

A server of its own on a free port and a fresh data folder. Moving k: a 512 x 512 random matrix
is open, and each arrow key on the slider is timed from the browser's own time stamp of the key
to the end of the task after the next animation frame, in which the frame was handed to be
painted; jumps go from one end of the slider to the other. Uploading: a 2048 x 2048 float32 .npy
is chosen, and timed until the matrix is drawn, and until rank k and the difference are.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
from pathlib import Path

import _path  # noqa: F401
import numpy as np
from _server import served
from playwright.sync_api import Page, sync_playwright

TARGETS = {"move_ms": 16.0, "first_picture_s": 3.0}
SLIDER = "#matrix-view .rs-k-slider"
LISTEN = """() => {
    window.moves = [];
    document.querySelector('#matrix-view .rs-k-slider').addEventListener('input', (event) => {
        const from = event.timeStamp;
        requestAnimationFrame(() => {
            const channel = new MessageChannel();
            channel.port1.onmessage = () => window.moves.push(performance.now() - from);
            channel.port2.postMessage(0);
        });
    });
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--moves", type=int, default=120)
    parser.add_argument("--uploads", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with served(folder / "data") as url, sync_playwright() as playwright:
            found = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            report = measured(page, url, folder, options.moves, options.uploads)
            browser.close()
    report |= {"targets": TARGETS, "load_average": os.getloadavg()[0]}
    print(json.dumps(report) if options.json else as_table(report))


def measured(page: Page, url: str, folder: Path, moves: int, uploads: int) -> dict:
    random = np.random.default_rng(0)
    small, large = folder / "side-512.npy", folder / "side-2048.npy"
    np.save(small, random.standard_normal((512, 512)).astype(np.float32))
    np.save(large, random.standard_normal((2048, 2048)).astype(np.float32))
    page.goto(f"{url}/spectrum")
    page.locator("#matrix-view .rs-tile").first.wait_for(timeout=120_000)
    page.get_by_role("tab", name="Upload").click()
    upload(page, small)
    page.wait_for_timeout(3000)  # the stored pictures for jumps are made
    page.evaluate(LISTEN)
    page.locator(SLIDER).focus()
    steps = pressed(page, ["ArrowRight"] * moves)
    jumps = pressed(page, ["End", "Home"] * 10)
    times = [upload(page, large) for _ in range(uploads)]
    return {
        "move_ms": statistics.median(steps),
        "move_p95_ms": statistics.quantiles(steps, n=20)[-1],
        "jump_ms": statistics.median(jumps),
        "moves": len(steps),
        "first_picture_s": statistics.median(first for first, _ in times),
        "rank_k_s": statistics.median(last for _, last in times),
    }


def pressed(page: Page, keys: list[str]) -> list[float]:
    """Milliseconds from each key to its painted frame."""
    page.evaluate("window.moves.length = 0")
    for key in keys:
        page.keyboard.press(key)
        page.wait_for_timeout(30)
    page.wait_for_timeout(300)
    return page.evaluate("window.moves")


def upload(page: Page, path: Path) -> tuple[float, float]:
    """Seconds until the matrix is drawn, and until rank k is."""
    page.evaluate("performance.clearMarks()")
    if page.locator("#matrix-file button[aria-label='Clear']").count():
        page.locator("#matrix-file button[aria-label='Clear']").first.click()
        page.locator("#matrix-file input[type=file]").wait_for(state="attached")
    began = page.evaluate("performance.now()")
    page.locator("#matrix-file input[type=file]").set_input_files(path)
    page.wait_for_function(
        "performance.getEntriesByName('rankscope-rank-k').length > 0", timeout=300_000
    )
    marks = page.evaluate(
        "['rankscope-first-picture', 'rankscope-rank-k'].map((name) =>"
        " performance.getEntriesByName(name)[0]?.startTime ?? null)"
    )
    first, last = marks
    return ((first if first is not None else last) - began) / 1000, (last - began) / 1000


def as_table(report: dict) -> str:
    return (
        f"load average {report['load_average']:.1f}\n"
        f"one step of k at 512 x 512      median {report['move_ms']:.1f} ms, 95 % below "
        f"{report['move_p95_ms']:.1f} ms (target {TARGETS['move_ms']} ms)\n"
        f"from one end to the other       median {report['jump_ms']:.1f} ms\n"
        f"2048 x 2048 to first picture    {report['first_picture_s']:.2f} s "
        f"(target {TARGETS['first_picture_s']} s)\n"
        f"2048 x 2048 to rank k           {report['rank_k_s']:.2f} s"
    )


if __name__ == "__main__":
    main()
