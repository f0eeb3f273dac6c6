"""Every page as it opens in Chromium: its first content beside bare Gradio's, and what moves.

    python benchmarks/page_opening.py [--json] [--rounds 3] [--width 1280] [--language en]

A server of its own with a fresh data folder, and beside it a bare Gradio app with one text field. A
page opens in a window of its own with an empty cache, in turn with the bare one, so that both meet
the same load of the machine. `first_content_ms` is Chromium's first contentful paint, the median of
the rounds: of ours the bar, the title and its sentence, which stand in the page as it is sent; of
bare Gradio its sign of loading. `drawn_ms` is when Gradio has drawn the page and neither stands any
more. `shift` is the largest cumulative layout shift (web.dev/articles/cls) until five seconds after
that.
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
SETTLE_MS = 5_000
TIMES = ("first_content", "drawn")
BARE = """
import os
import gradio as gr
with gr.Blocks(analytics_enabled=False) as app:
    gr.Markdown("# Bare")
    gr.Textbox(label="Text")
app.launch(server_port=int(os.environ["PORT"]), quiet=True)
"""
WATCH = """
const drawn = new MutationObserver(() => {
    if (!document.querySelector("gradio-app h1")) return;
    if (document.querySelector(".rs-first, .app > .wrap.full.translucent")) return;
    drawn.disconnect();
    window.drawnAt = performance.now();
});
drawn.observe(document, { childList: true, subtree: true });
"""
MEASURE = """() => new Promise((resolve) => {
    let shift = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) shift += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    const first_content_ms = paint?.startTime ?? NaN;
    const drawn_ms = window.drawnAt ?? NaN;
    setTimeout(() => resolve({ first_content_ms, drawn_ms, shift }), 200);
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--language", choices=("en", "zh"), help="one language alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        found = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        with served(Path(name)) as ours, served(Path(name), ("-c", BARE)) as theirs:
            rows = [
                measured(browser, f"{ours}{prefix}{page.path}", theirs, options)
                | {"page": prefix + page.path}
                for prefix in ({"en": [""], "zh": ["/zh"]}.get(options.language, ["", "/zh"]))
                for page in PAGES
            ]
        browser.close()
    if options.json:
        print(json.dumps({"targets": TARGETS, "width": options.width, "pages": rows}, indent=1))
        return
    print(f"{'page':16}{'first content':>24}{'ratio':>7}{'drawn':>24}{'ratio':>7}{'shift':>8}")
    for row in rows:
        told = "".join(
            f"{row[f'{name}_ms']:9.0f} ms to{row[f'bare_{name}_ms']:6.0f} ms"
            f"{row[f'{name}_ratio']:7.2f}"
            for name in TIMES
        )
        print(f"{row['page']:16}{told}{row['shift']:8.3f}")


def measured(
    browser: Browser, url: str, bare: str, options: argparse.Namespace
) -> dict[str, float]:
    """Both pages in turn, after one opening of each that is not counted."""
    for warmed in (url, bare):
        opened(browser, warmed, options.width)
    ours, theirs = [], []
    for _ in range(options.rounds):
        ours.append(opened(browser, url, options.width))
        theirs.append(opened(browser, bare, options.width))
    row = {"shift": max(one["shift"] for one in ours)}
    for name in TIMES:
        row[f"{name}_ms"] = statistics.median(one[f"{name}_ms"] for one in ours)
        row[f"bare_{name}_ms"] = statistics.median(one[f"{name}_ms"] for one in theirs)
        row[f"{name}_ratio"] = row[f"{name}_ms"] / row[f"bare_{name}_ms"]
    return row


def opened(browser: Browser, url: str, width: int) -> dict[str, float]:
    """One opening in a context of its own: its first content and how much moved."""
    locale = "zh-CN" if "/zh" in url else "en-US"
    context = browser.new_context(viewport={"width": width, "height": 800}, locale=locale)
    try:
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(url, timeout=120_000)
        page.wait_for_function("window.drawnAt", timeout=120_000)
        page.wait_for_timeout(SETTLE_MS)
        return page.evaluate(MEASURE)
    finally:
        context.close()


if __name__ == "__main__":
    main()
