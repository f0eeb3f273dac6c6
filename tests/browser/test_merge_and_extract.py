"""An adapter merged into its base on its page, and one extracted from a model that is there."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect
from safetensors.torch import load_file, save_file

from lora_engine.base_models import BaseModel, fingerprint
from lora_engine.starter import MODEL_DIR
from tests.browser.conftest import Server
from tests.compare_models import save_adapter

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
LONG_MS = 90_000
CHANGED = "model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server without an adapter, and a model `tuned`: the starter with one weight changed."""
    folder = tmp_path_factory.mktemp("merge")
    tuned = shutil.copytree(MODEL_DIR, folder / "models" / "tuned") / "model.safetensors"
    tensors = load_file(tuned)
    weight = tensors[f"{CHANGED}.weight"]
    weight += 4 * weight[:, :2] @ weight[:2]
    save_file(tensors, tuned, metadata={"format": "pt"})
    return start_server(folder, LORA_MODELS_DIR=str(folder / "models"))


@pytest.fixture
def pirate(server: Server) -> Path:
    """An adapter of the starter that says what it was trained on."""
    base = BaseModel("starter", MODEL_DIR)
    folder = save_adapter(server.data_dir / "adapters" / "pirate", base, r=2, lora_alpha=2)
    provenance = {
        "base_model": "starter",
        "base_fingerprint": fingerprint(base),
        "spec": {"base_model": "starter", "dataset": {"source": "starter:pirate"}},
    }
    (folder / "provenance.json").write_text(json.dumps(provenance), "utf-8")
    return folder


def test_an_adapter_is_extracted_where_there_was_none(
    server: Server, open_page: OpenPage, screenshot: Callable
) -> None:
    page = open_page(f"{server.url}/adapters?tab=extract")
    write = page.locator("#extract-write")
    write.click()
    expect(page.get_by_role("alert").filter(has_text="Two models are needed")).to_be_visible()
    page.locator("#extract-tuned input").click()
    page.get_by_role("option", name="tuned").click()
    name = page.locator("#extract-name").get_by_role("textbox")
    expect(name).to_have_value("tuned-extracted")
    page.locator("#extract-rows input").click()
    page.get_by_role("option", name="starter:pirate").click()
    write.click()

    losses = page.locator("#extract-losses .rs-tile")
    expect(losses).to_have_count(4, timeout=LONG_MS)
    of = [losses.nth(place).locator("dd").first.inner_text() for place in range(3)]
    assert of[0] != of[1] == of[2]
    expect(page.locator("#extract-stop")).to_be_hidden()
    expect(page.locator("#extract-summary .rs-tile")).to_have_count(5)
    page.get_by_role("button", name="Module by module").last.click()
    row = page.locator("#extract-modules tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text(CHANGED)
    screenshot(page, "extract")
    written = server.data_dir / "adapters" / "tuned-extracted"
    config = json.loads((written / "adapter_config.json").read_text("utf-8"))
    assert config["target_modules"] == [CHANGED]

    page.get_by_role("link", name="Open it").click()
    expect(page.locator("#adapter-heading h2")).to_contain_text("tuned-extracted")


def test_an_adapter_is_merged_with_its_proof_and_is_a_base_from_then_on(
    server: Server, pirate: Path, open_page: OpenPage, screenshot: Callable
) -> None:
    page = open_page(f"{server.url}/adapters?adapter=pirate&tab=merge")
    expect(page.locator("#merge-base input")).to_have_value("starter")
    expect(page.locator("#merge-quantized")).to_be_hidden()
    name = page.locator("#merge-name").get_by_role("textbox")
    expect(name).to_have_value("pirate-merged")
    page.locator("#merge-write").click()

    tiles = page.locator("#merge-summary .rs-tile")
    expect(tiles).to_have_count(7, timeout=LONG_MS)
    expect(page.locator("#merge-summary")).to_contain_text("of 16 held-out rows")
    expect(page.locator("#merge-stop")).to_be_hidden()
    screenshot(page, "merge")
    written = server.data_dir / "models" / "pirate-merged"
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
    page = open_page(f"{server.url}/")
    page.locator("#preset input").click()
    expect(page.get_by_role("option", name="pirate-merged (here)")).to_be_visible()
    page = open_page(f"{server.url}/spectrum")
    page.get_by_role("tab", name="Checkpoints").click()
    page.locator("#checkpoint-tuned input").click()
    expect(page.get_by_role("option", name="pirate-merged")).to_be_visible()
    page = open_page(f"{server.url}/compare?base=pirate-merged")
    expect(page.get_by_label("Base model")).to_have_value("pirate-merged")
    expect(page.locator("#column-1")).to_be_hidden()  # the adapter is of another base


def test_scripts_merge_and_extract(server: Server, pirate: Path) -> None:
    client = Client(server.url, verbose=False)
    asked = {"adapter": "pirate", "name": "by-script", "prove": False, "api_name": "/merge"}
    merged = client.predict(**asked)
    assert merged["max_logit_difference"] is None
    assert merged["base_fingerprint"] == fingerprint(BaseModel("starter", MODEL_DIR))
    with pytest.raises(Exception, match="exists already"):
        client.predict(**asked)
    models = {"base": "starter", "tuned": "by-script", "api_name": "/extract"}
    extracted = client.predict(**models, name="back-again", rank=2)
    assert {one["rank"] for one in extracted["modules"]} == {2}
    assert f"{CHANGED}.weight" in merged["changed"]
    assert {f"{one['name']}.weight" for one in extracted["modules"]} == set(merged["changed"])
    with pytest.raises(Exception, match="One of rank"):
        client.predict(**models, name="another")
