"""Every page as it opens in Chromium: its first content beside bare Gradio's, and what moves.

    python benchmarks/page_opening.py [--json] [--rounds 3] [--width 1280]

A server of its own with a fresh data folder, and beside it a bare Gradio app with one text field. A
page opens in a window of its own with an empty cache, in turn with the bare one, so that both meet
the same load of the machine. `first_content_ms` is Chromium's first contentful paint, the median of
the rounds; `shift` is the largest cumulative layout shift (web.dev/articles/cls) until three
seconds after the page's answers.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path

import _path  # noqa: F401
from _server import served
from playwright.sync_api import Browser, sync_playwright

from pages import PAGES

TARGETS = {"first_content_ratio": 1.5, "shift": 0.1}
SETTLE_MS = 3_000
BARE = """
import os
import gradio as gr
with gr.Blocks(analytics_enabled=False) as app:
    gr.Markdown("# Bare")
    gr.Textbox(label="Text")
app.launch(server_port=int(os.environ["PORT"]), quiet=True)
"""
MEASURE = """() => new Promise((resolve) => {
    let shift = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) shift += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    setTimeout(() => resolve({ first_content_ms: paint?.startTime ?? NaN, shift }), 200);
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=1280)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        found = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        with served(Path(name)) as ours, served(Path(name), ("-c", BARE)) as theirs:
            rows = [
                measured(browser, f"{ours}{prefix}{page.path}", theirs, options)
                | {"page": prefix + page.path}
                for prefix in ("", "/zh")
                for page in PAGES
            ]
        browser.close()
    if options.json:
        print(json.dumps({"targets": TARGETS, "width": options.width, "pages": rows}, indent=1))
        return
    print(f"{'page':16}{'first content':>16}{'bare Gradio':>14}{'ratio':>8}{'shift':>8}")
    for row in rows:
        print(
            f"{row['page']:16}{row['first_content_ms']:13.0f} ms{row['bare_ms']:11.0f} ms"
            f"{row['first_content_ratio']:8.2f}{row['shift']:8.3f}"
        )


def measured(
    browser: Browser, url: str, bare: str, options: argparse.Namespace
) -> dict[str, float]:
    """Both pages in turn, after one opening of each that is not counted."""
    for warmed in (url, bare):
        opened(browser, warmed, options.width)
    ours, theirs = [], []
    for _ in range(options.rounds):
        ours.append(opened(browser, url, options.width))
        theirs.append(opened(browser, bare, options.width)["first_content_ms"])
    first = statistics.median(one["first_content_ms"] for one in ours)
    bare_ms = statistics.median(theirs)
    return {
        "first_content_ms": first,
        "bare_ms": bare_ms,
        "first_content_ratio": first / bare_ms,
        "shift": max(one["shift"] for one in ours),
    }


def opened(browser: Browser, url: str, width: int) -> dict[str, float]:
    """One opening in a context of its own: its first content and how much moved."""
    locale = "zh-CN" if "/zh" in url else "en-US"
    context = browser.new_context(viewport={"width": width, "height": 800}, locale=locale)
    try:
        page = context.new_page()
        page.goto(url, timeout=120_000)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(SETTLE_MS)
        return page.evaluate(MEASURE)
    finally:
        context.close()


if __name__ == "__main__":
    main()
