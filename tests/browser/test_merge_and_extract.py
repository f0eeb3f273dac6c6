"""An adapter merged into its base on its page, and one extracted from a model that is there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from lora_engine.base_models import BaseModel, fingerprint
from lora_engine.starter import MODEL_DIR
from tests.browser.compare_server import serve_with_adapter
from tests.browser.conftest import Server

OpenPage = Callable[..., Page]
LONG_MS = 90_000


@pytest.fixture(scope="module")
def adapters(start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory):
    """A server that knows an adapter of the starter, which says what it was trained on."""
    folder = tmp_path_factory.mktemp("merge")
    models = {"LORA_MODELS_DIR": str(folder / "models")}
    server = serve_with_adapter(start_server, folder, "pirate", **models)
    provenance = {
        "base_model": "starter",
        "base_fingerprint": fingerprint(BaseModel("starter", MODEL_DIR)),
        "spec": {"base_model": "starter", "dataset": {"source": "starter:pirate"}},
    }
    path = folder / "adapters" / "pirate" / "provenance.json"
    path.write_text(json.dumps(provenance), "utf-8")
    return server


def test_an_adapter_is_merged_with_its_proof_and_is_a_base_from_then_on(
    adapters: Server, open_page: OpenPage, screenshot: Callable
) -> None:
    page = open_page(f"{adapters.url}/adapters?adapter=pirate&tab=merge")
    expect(page.locator("#merge-base input")).to_have_value("starter")
    expect(page.locator("#merge-quantized")).to_be_hidden()
    name = page.locator("#merge-name").get_by_role("textbox")
    expect(name).to_have_value("pirate-merged")
    page.locator("#merge-write").click()

    tiles = page.locator("#merge-summary .rs-tile")
    expect(tiles).to_have_count(7, timeout=LONG_MS)
    expect(page.locator("#merge-summary")).to_contain_text("of 16 held-out rows")
    screenshot(page, "merge")
    written = adapters.data_dir / "models" / "pirate-merged"
    told = json.loads((written / "provenance.json").read_text("utf-8"))["operation"]
    difference = tiles.filter(has_text="Largest logit difference").locator("dd").first
    assert float(difference.inner_text()) == pytest.approx(told["max_logit_difference"], rel=0.01)

    page.locator("#merge-write").click()  # the name is taken now
    expect(page.get_by_role("alert").filter(has_text="exists already")).to_be_visible()
    expect(page.locator("#merge-summary .rs-tile")).to_have_count(0)
    page.get_by_text("Prove it").click()
    page.get_by_role("button", name="Replace the one of that name").click()
    expect(tiles).to_have_count(2, timeout=LONG_MS)

    compare = page.get_by_role("link", name="Compare with it")
    expect(compare).to_have_attribute("href", "/compare?base=pirate-merged")
    page.get_by_role("link", name="Use it as a base").click()
    page.wait_for_url(re.compile("/train"))
    base = page.get_by_label("Base model")
    expect(base).to_have_value("pirate-merged")
    base.click()
    expect(page.get_by_role("option", name="pirate-merged")).to_be_visible()
    page = open_page(f"{adapters.url}/")
    page.locator("#preset input").click()
    expect(page.get_by_role("option", name="pirate-merged (here)")).to_be_visible()
    page = open_page(f"{adapters.url}/spectrum")
    page.get_by_role("tab", name="Two checkpoints").click()
    page.locator("#checkpoint-tuned input").click()
    expect(page.get_by_role("option", name="pirate-merged")).to_be_visible()
    page = open_page(f"{adapters.url}/compare?base=pirate-merged")
    expect(page.get_by_label("Base model")).to_have_value("pirate-merged")
    expect(page.locator("#column-1")).to_be_hidden()  # the adapter is of another base
