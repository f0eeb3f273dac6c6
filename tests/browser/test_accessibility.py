"""Every page for everybody: axe-core finds nothing serious, in both modes and languages.

axe-core comes with npm (package.json). How much moves as a page opens is measured by
`benchmarks/page_opening.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from pages import PAGES

pytestmark = pytest.mark.slow

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = {"serious", "critical"}
SETTLE_MS = 1_000
AWAITED = '[data-answer="awaited"]'  # dimmed until the figures are there
RUN_AXE = """async (awaited) => {
    const page = { include: [["body"]], exclude: [[awaited]] };
    const found = await axe.run(page, { resultTypes: ["violations"] });
    return found.violations.map(({ id, impact, nodes }) => ({
        id, impact, nodes: nodes.map((node) => `${node.target.join(" ")}: ${node.failureSummary}`),
    }));
}"""


@pytest.mark.parametrize(
    ("prefix", "dark", "width"),
    [("", False, 1280), ("/zh", True, 390)],
    ids=["en-light-wide", "zh-dark-narrow"],
)
@pytest.mark.parametrize("path", [*(page.path for page in PAGES), "/settings"])
def test_axe_finds_nothing_serious(
    server, open_page: Callable[..., Page], path: str, prefix: str, dark: bool, width: int
) -> None:
    page = open_page(server.url + prefix + path, dark=dark, width=width)
    page.wait_for_timeout(SETTLE_MS)
    page.evaluate(AXE.read_text("utf-8"))
    violations = page.evaluate(RUN_AXE, AWAITED)
    serious = [(one["id"], one["nodes"]) for one in violations if one["impact"] in SERIOUS]
    assert serious == []
