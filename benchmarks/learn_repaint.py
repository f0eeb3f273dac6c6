"""The lesson in Chromium: from a drag on each step's picture to the painted frame.

    python benchmarks/learn_repaint.py [--json] [--moves 60] [--path /learn]

A server of its own on a free port and a fresh data folder. Every slider of a step is dragged from
one end to the other and back, one with few places several times. A move is timed from the browser's
own time stamp of the slider's event to the end of the task after the next animation frame, in which
the frame was handed to be painted; `work_ms` is the part of it that the page's own scripts took.
The target is for the median of a step's moves. A step without a slider is named.
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
from _server import served
from playwright.sync_api import Locator, Page, sync_playwright

from pages.learn.steps import STEPS

MOST_DRAGS = 5  # of a slider with few places
TARGETS = {"move_ms": 16.0}
LISTEN = """() => {
    window.moves = [];
    let began = 0;
    addEventListener("input", () => { began = performance.now(); }, true);
    addEventListener("input", (event) => {
        const from = event.timeStamp;
        const work = performance.now() - began;
        requestAnimationFrame(() => {
            const channel = new MessageChannel();
            channel.port1.onmessage = () =>
                window.moves.push({ move: performance.now() - from, work });
            channel.port2.postMessage(0);
        });
    });
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--moves", type=int, default=60)
    parser.add_argument("--path", default="/learn", help="/zh/learn is the Chinese page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        with served(Path(name) / "data") as url, sync_playwright() as playwright:
            found = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            steps = measured(page, url + options.path, options.moves)
            browser.close()
    report = {
        "steps": steps,
        "move_ms": max(step["move_ms"] for step in steps.values() if "move_ms" in step),
        "targets": TARGETS,
        "load_average": os.getloadavg()[0],
    }
    print(json.dumps(report) if options.json else as_table(report))


def measured(page: Page, address: str, moves: int) -> dict[str, dict]:
    """The medians of each step by its key."""
    page.goto(f"{address}?step=1")
    page.locator(".rs-step-shown").wait_for(timeout=120_000)
    page.evaluate(LISTEN)
    found = {}
    for number, step in enumerate(STEPS, 1):
        page.locator(f'.rs-steps a[data-step="{number}"]').click()
        page.locator(f"#step-{step.key}.rs-step-shown").wait_for()
        page.wait_for_timeout(1500)  # its pictures are drawn, and what it asked is answered
        sliders = page.locator(f"#step-{step.key} input[type=range]:visible").all()
        found[step.key] = dragged(page, sliders, moves) if sliders else {"sliders": 0}
    return found


def dragged(page: Page, sliders: list[Locator], moves: int) -> dict:
    page.evaluate("window.moves.length = 0")
    for slider in sliders:
        before = page.evaluate("window.moves.length")
        for _ in range(MOST_DRAGS):
            drag(page, slider, moves)
            if page.evaluate("window.moves.length") >= before + moves:
                break
    page.wait_for_timeout(300)
    times = page.evaluate("window.moves")
    return {
        "sliders": len(sliders),
        "moves": len(times),
        "move_ms": statistics.median(one["move"] for one in times),
        "move_p95_ms": statistics.quantiles([one["move"] for one in times], n=20)[-1],
        "work_ms": statistics.median(one["work"] for one in times),
    }


def drag(page: Page, slider: Locator, moves: int) -> None:
    """From its lower end to the upper one and back."""
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    y, left, width = box["y"] + box["height"] / 2, box["x"] + 9, box["width"] - 18
    page.mouse.move(left, y)
    page.mouse.down()
    for move in range(1, moves + 1):
        share = 1 - abs(1 - 2 * move / moves)
        page.mouse.move(left + share * width, y)
        page.wait_for_timeout(20)
    page.mouse.up()


def as_table(report: dict) -> str:
    lines = [f"{'step':<12}{'move ms':>9}{'p95':>8}{'work':>8}{'moves':>7}"]
    for key, step in report["steps"].items():
        if "move_ms" not in step:
            lines.append(f"{key:<12}  no slider")
            continue
        lines.append(
            f"{key:<12}{step['move_ms']:>9.1f}{step['move_p95_ms']:>8.1f}"
            f"{step['work_ms']:>8.1f}{step['moves']:>7}"
        )
    lines.append(f"target {report['targets']['move_ms']} ms, load {report['load_average']:.1f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
