"""Every page for everybody: axe-core finds nothing serious, and nothing moves while a page opens.

axe-core comes with npm (package.json). Each case is one page in one mode and language.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from pages import PAGES

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = {"serious", "critical"}
MOST_SHIFT = 0.1  # "good" by web.dev/articles/cls
SETTLE_MS = 1_000
RUN_AXE = """async () => {
    const found = await axe.run(document, { resultTypes: ["violations"] });
    return found.violations.map(({ id, impact, nodes }) => ({
        id, impact, nodes: nodes.map((node) => `${node.target.join(" ")}: ${node.failureSummary}`),
    }));
}"""
LAYOUT_SHIFT = """() => new Promise((resolve) => {
    let sum = 0;
    const moved = [];
    const observer = new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) {
            if (entry.hadRecentInput) continue;
            sum += entry.value;
            moved.push(...entry.sources.map(({ node }) => node?.parentElement?.className ?? ""));
        }
    });
    observer.observe({ type: "layout-shift", buffered: true });
    setTimeout(() => resolve({ sum, moved }), 200);
})"""


@pytest.mark.parametrize("prefix", ["", "/zh"], ids=["en", "zh"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("path", [page.path for page in PAGES])
def test_a_page_opens_without_moving_and_axe_finds_nothing_serious(
    server, open_page: Callable[..., Page], path: str, dark: bool, prefix: str
) -> None:
    # The two widths take turns: narrow in Chinese, wide in English.
    page = open_page(server.url + prefix + path, dark=dark, width=390 if prefix else 1280)
    page.wait_for_timeout(SETTLE_MS)
    shift = page.evaluate(LAYOUT_SHIFT)
    page.evaluate(AXE.read_text("utf-8"))
    violations = page.evaluate(RUN_AXE)
    serious = [(one["id"], one["nodes"]) for one in violations if one["impact"] in SERIOUS]
    assert serious == []
    assert shift["sum"] <= MOST_SHIFT, shift["moved"]
