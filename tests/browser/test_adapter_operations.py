"""What an operation on adapters would do and did, on their page: measured, predicted, heard."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lora_engine.base_models import BaseModel, fingerprint
from lora_engine.starter import MODEL_DIR
from tests.browser.compare_server import serve_with_adapter
from tests.browser.conftest import Server

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def adapters(start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory):
    """A server that knows two adapters of the starter, which say what they were trained on, and
    one of another state of the base, which does not."""
    folder = tmp_path_factory.mktemp("combine")
    server = serve_with_adapter(start_server, folder, "json", "pirate")
    known = fingerprint(BaseModel("starter", MODEL_DIR))
    for name in ("json", "pirate"):
        spec = {"base_model": "starter", "dataset": {"source": f"starter:{name}"}}
        provenance = {"base_model": "starter", "base_fingerprint": known, "spec": spec}
        (folder / "adapters" / name / "provenance.json").write_text(json.dumps(provenance), "utf-8")
    foreign = shutil.copytree(folder / "adapters" / "json", folder / "adapters" / "foreign")
    provenance = {"base_model": "starter", "base_fingerprint": "0" * 64}
    (foreign / "provenance.json").write_text(json.dumps(provenance), "utf-8")
    return server


def opened(open_page: OpenPage, server: Server, adapter: str, state: str) -> Page:
    """The page at this adapter, once its field says so: a click sends what the field says."""
    page = open_page(f"{server.url}/adapters?adapter={adapter}&{state}")
    expect(page.locator("#opened-adapter input")).to_have_value(re.compile(adapter))
    return page


def test_adapters_are_combined_heard_and_measured(
    adapters: Server, open_page: OpenPage, screenshot: Callable
) -> None:
    page = opened(open_page, adapters, "pirate", "tab=combine")
    choose_other(page, "json")
    weight = page.get_by_label("Weight of json")
    weight.fill("0.5")
    page.get_by_role("button", name="Will they collide?").click()
    expect(page.locator("#combine-meetings tbody tr")).to_have_count(28)
    expect(page.locator("#combine-collisions")).to_contain_text("pirate × 1 + json × 0.5")
    weight.fill("0.25")  # what was said no longer answers the fields
    expect(page.locator("#combine-meetings tbody tr")).to_have_count(0)
    expect(page.locator("#combine-collisions")).to_have_text("")
    hears_it_and_comes_back(page)

    page.locator("#combine-write").click()

    effects = page.locator("#combine-effects tbody tr")
    expect(effects).to_have_count(2, timeout=120_000)
    expect(effects.first).to_contain_text("pirate")
    expect(page.locator("#combine-losses tbody tr")).to_have_count(9)
    expect(page.locator("#combine-stop")).to_be_hidden()
    screenshot(page, "combine")
    written = adapters.data_dir / "adapters" / "pirate-combined"
    assert json.loads((written / "adapter_config.json").read_text("utf-8"))["r"] == 4
    weights = json.loads((written / "provenance.json").read_text("utf-8"))["operation"]["sources"]
    assert [one["weight"] for one in weights] == [1.0, 0.25]
    is_replaced_when_asked_and_stopped(page)


def choose_other(page: Page, name: str) -> None:
    field = page.locator("#combine-with input")
    field.click()
    page.get_by_role("option", name=re.compile(f"^{name} ")).click()
    field.blur()
    expect(page.get_by_label(f"Weight of {name}")).to_be_visible()


def hears_it_and_comes_back(page: Page) -> None:
    page.get_by_role("button", name="Hear it before it is written").click()
    page.get_by_role("link", name="Hear it in Compare").click()
    page.wait_for_url(re.compile("/compare"))
    for number, name in enumerate(("pirate", "json", "pirate-1-json-0.25"), 1):
        expect(page.locator(f"#column-{number}")).to_contain_text(name)
    page.go_back()
    expect(page.locator("#opened-adapter input")).to_have_value(re.compile("pirate"))
    expect(page.get_by_label("Weight of json")).to_have_value("0.25")
    expect(page.locator("#combine-name").get_by_role("textbox")).to_have_value("pirate-combined")


def is_replaced_when_asked_and_stopped(page: Page) -> None:
    page.locator("#combine-write").click()
    expect(page.get_by_role("alert").filter(has_text="exists already")).to_be_visible()
    page.locator("#combine-replace").click()
    expect(page.locator("#combine-summary .rs-tile").first).to_be_visible()
    page.locator("#combine-stop").click()  # while the losses are measured
    expect(page.locator("#combine-stop")).to_be_hidden()
    expect(page.locator("#combine-effects tbody tr")).to_have_count(0)


def test_what_cannot_be_combined_is_said_and_nothing_is_written(
    adapters: Server, open_page: OpenPage
) -> None:
    page = opened(open_page, adapters, "json", "tab=combine&weight1=0.5")
    page.locator("#combine-write").click()
    expect(page.get_by_role("alert").filter(has_text="chosen adapters is 1")).to_be_visible()
    choose_other(page, "foreign")
    for button in ("#combine-predict", "#combine-hear", "#combine-write"):
        page.locator(button).click()
        refused = page.get_by_role("alert").filter(has_text="do not belong to one base model")
        expect(refused.last).to_be_visible()
    page.locator("#combine-method input").click()
    page.get_by_role("option", name="DARE, then the sum").click()
    for name in ("Density", "Seed"):
        expect(page.get_by_label(name)).to_be_visible()
    assert not Path(adapters.data_dir / "adapters" / "json-combined").exists()
    assert not any((adapters.data_dir / "trials").glob("*/json*"))


def test_the_held_out_loss_is_measured_at_each_size(
    adapters: Server, open_page: OpenPage, screenshot: Callable
) -> None:
    page = opened(open_page, adapters, "pirate", "tab=resize")
    page.locator("#resize-measure").click()
    page.locator("#resize-measuring-stop").click()
    expect(page.locator("#resize-measuring-stop")).to_be_hidden()
    rows = page.locator("#resize-loss-table tbody tr")
    expect(rows).to_have_count(0)

    page.locator("#resize-measure").click()

    expect(rows).to_have_count(2, timeout=120_000)  # ranks 1 and 2
    expect(page.locator("#resize-measured")).to_contain_text("60 of pirate's held-out rows")
    expect(page.locator("#resize-loss-plot .rs-plot")).to_have_attribute(
        "aria-label", re.compile("The lowest loss is")
    )
    expect(page.locator("#resize-measuring-stop")).to_be_hidden()
    screenshot(page, "resize-losses")
    page = opened(open_page, adapters, "foreign", "tab=resize")
    page.locator("#resize-measure").click()
    expect(
        page.get_by_role("alert").filter(has_text="does not say what it was trained on")
    ).to_be_visible()
