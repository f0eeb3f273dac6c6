"""Going on in a browser: a finished run is extended, and a new one starts from its adapter."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lora_engine.engine import Engine
from lora_engine.settings import Settings
from lora_engine.spec import spec_from
from pages import RUNS
from tests.browser.conftest import Server

pytestmark = pytest.mark.slow

RUN_MS = 240_000
SPEC = {
    "name": "short r4",
    "method": {"rank": 4, "alpha": 12.0},
    "optimization": {"max_steps": 3, "schedule": "constant", "warmup_ratio": 0.0},
    "report": {"samples": 0},
}


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    """One of this file's own: its tests make runs or sets."""
    return start_server()


def finished(page: Page) -> None:
    status = page.locator("#run-heading").get_by_role("status")
    expect(status).to_have_text("finished", timeout=RUN_MS)


def test_a_run_is_extended_and_its_adapter_gone_on_from(
    server: Server, open_page: Callable[..., Page], screenshot: Callable[[Page, str], Path]
):
    settings = Settings(data_dir=server.data_dir, models_dir=server.data_dir / "models")
    first = Engine(settings).runs.submit(spec_from(SPEC)).id
    page = open_page(f"{server.url}{RUNS.path}?run={first}")
    finished(page)

    page.click("#extend")
    words = page.locator("#extension-words")
    expect(words).to_contain_text("Steps 4 to")
    expect(page.locator("#field-epochs input")).to_have_value("1")
    expect(page.locator("#field-steps input")).to_have_value("")
    page.fill("#field-steps input", "2")
    expect(words).to_contain_text("Steps 4 to 5. The learning rate stays at 0.0002")
    expect(page.locator("#field-epochs input")).to_have_value("")
    screenshot(page, "extend")
    page.click("#extend-start")
    heading = page.locator("#run-heading")
    expect(heading).to_contain_text("short r4 + 2 steps")
    expect(heading).to_contain_text(f"Goes on from run {first} after its step 3")
    finished(page)
    expect(heading).to_contain_text("Step 5 of 5")

    page.get_by_role("link", name="Go on from its adapter").click()
    expect(page).to_have_url(re.compile("init_from="))
    # by its name, though the run finished after the server had drawn the form
    expect(page.get_by_label("Go on from")).to_have_value("short r4 + 2 steps (rank 4)")
    expect(page.locator("#field-method-rank input")).to_have_value("4")
    expect(page.locator("#start")).to_be_enabled()
    screenshot(page, "go-on")
