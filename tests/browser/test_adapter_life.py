"""An adapter's life on its page: resized, with its losses before and after, and compared."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.compare_server import serve_with_adapter
from tests.browser.conftest import Server

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def adapters(start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory):
    """A server that knows two adapters of the starter, which say what they were trained on."""
    folder = tmp_path_factory.mktemp("life")
    server = serve_with_adapter(start_server, folder, "json", "pirate")
    for name in ("json", "pirate"):
        spec = {"base_model": "starter", "dataset": {"source": f"starter:{name}"}}
        provenance = {"base_model": "starter", "spec": spec}
        (folder / "adapters" / name / "provenance.json").write_text(json.dumps(provenance), "utf-8")
    return server


def test_an_adapter_is_resized_measured_and_compared(
    adapters: Server, open_page: OpenPage, screenshot: Callable
) -> None:
    page = open_page(f"{adapters.url}/adapters?adapter=pirate&tab=resize")
    rank = page.locator("#resize-rank input").first
    energy = page.locator("#resize-chosen .rs-tile").nth(1).locator("dd").first
    expect(energy).to_contain_text("%")
    rank.fill("2")
    expect(energy).to_have_text("100 %")
    rank.fill("1")
    expect(energy).not_to_have_text("100 %")
    said = energy.inner_text()
    page.locator("#resize-name").get_by_role("textbox").fill("pirate-1")

    page.locator("#resize-write").click()

    expect(page.locator("#resize-summary")).to_contain_text(said)
    expect(page.locator("#resize-losses tbody tr")).to_have_count(4, timeout=90_000)
    losses = page.locator("#resize-losses")
    expect(losses.get_by_text("pirate's held-out rows")).to_have_count(2)
    expect(losses.get_by_text("general questions")).to_have_count(2)
    screenshot(page, "resize")
    written = adapters.data_dir / "adapters" / "pirate-1"
    assert json.loads((written / "adapter_config.json").read_text("utf-8"))["r"] == 1

    page.locator("#resize-write").click()  # the name is taken now
    expect(page.get_by_role("alert").filter(has_text="exists already")).to_be_visible()
    replace = page.get_by_role("button", name="Replace the one of that name")
    replace.click()
    expect(page.locator("#resize-losses tbody tr")).to_have_count(4, timeout=90_000)
    expect(replace).to_be_hidden()

    page.get_by_role("link", name="Compare the two").click()
    page.wait_for_url(re.compile("/compare"))
    expect(page.locator("#column-1")).to_contain_text("pirate")
    expect(page.locator("#column-2")).to_contain_text("pirate-1")


def test_a_size_that_is_none_is_refused_beside_the_field(
    adapters: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{adapters.url}/adapters?adapter=json&tab=resize")
    for rank, words in (("3", "Rank 3"), ("0", "Rank 0")):
        page.locator("#resize-rank input").first.fill(rank)
        page.locator("#resize-write").click()
        expect(page.get_by_role("alert").filter(has_text=words)).to_be_visible()
    assert not Path(adapters.data_dir / "adapters" / "json-resized").exists()
