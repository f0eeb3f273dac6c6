"""The adapters page in a browser: found, opened, noted, added by folder and zip, taken, deleted.

The adapters are random ones of the starter; nothing is trained.
"""

from __future__ import annotations

import csv
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from lora_engine.base_models import BaseModel, fingerprint
from lora_engine.starter import MODEL_DIR
from pages import ADAPTERS
from tests.browser.conftest import Server, wait_until_it_fits
from tests.compare_models import save_adapter

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def library(tmp_path_factory, start_server: Callable[..., Server]) -> Server:
    """Two added adapters of the starter, and a folder that is none."""
    data = tmp_path_factory.mktemp("library")
    base = BaseModel("starter", MODEL_DIR)
    for name, rank in (("pirate", 4), ("json", 8)):
        targets = ["q_proj", "v_proj"]
        folder = save_adapter(
            data / "adapters" / name, base, r=rank, lora_alpha=8, target_modules=targets
        )
        provenance = {"base_model": "starter", "base_fingerprint": fingerprint(base)}
        (folder / "provenance.json").write_text(json.dumps(provenance))
    (data / "adapters" / "broken").mkdir()
    (data / "adapters" / "broken" / "adapter_config.json").write_text("{")
    return start_server(data)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """A third adapter, outside the data folder."""
    base = BaseModel("starter", MODEL_DIR)
    return save_adapter(tmp_path_factory.mktemp("elsewhere") / "brought", base, r=2, lora_alpha=2)


def items(page: Page) -> Locator:
    """The list at the side: the person's own adapters, then the one that comes with the program."""
    return page.get_by_role("list", name="Adapters").get_by_role("link")


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def open_adding(page: Page) -> None:
    page.get_by_role("button", name="Add an adapter").click()


def upload_zip(page: Page, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a zip").click()
    chooser.value.set_files(path)


def test_adapters_are_found_and_one_is_opened_from_the_list(
    library: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{library.url}{ADAPTERS.path}")
    expect(items(page)).to_have_count(3)
    expect(items(page).last).to_contain_text("comes with Rankscope")
    expect(page.locator("#unreadable-adapters")).to_contain_text("broken")
    page.get_by_role("textbox", name=re.compile("^Find")).fill("pirate")
    expect(items(page)).to_have_count(2)
    page.wait_for_url(re.compile("find=pirate"))
    page.reload()
    expect(items(page)).to_have_count(2)
    items(page).first.click()
    expect(page.get_by_role("tab", name="About")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#adapter-heading h2")).to_have_text("pirate")
    expect(page.get_by_label("Checks").get_by_role("listitem")).to_have_text(
        [re.compile("✓ Whole"), re.compile("✓ Finite"), re.compile("✓ On the right base.*starter")]
    )
    expect(items(page).and_(page.locator("[aria-current=page]"))).to_contain_text("pirate")
    open_tab(page, "Every module")
    expect(page.locator("#adapter-modules tbody tr")).to_have_count(8)
    expect(page.locator("#adapter-modules tbody tr").first).to_contain_text("4 × 256")
    full, own = page.get_by_role("meter", name="Full model"), page.get_by_role("meter")
    expect(full).to_have_attribute("aria-valuetext", "7.51 MiB")
    expect(own).to_have_count(2)
    open_tab(page, "Load it in Python")
    expect(page.locator("#adapter-code")).to_contain_text("PeftModel.from_pretrained")
    open_tab(page, "Every module")
    with page.expect_download() as download:
        page.locator("#adapter-modules").get_by_role("button", name="Download CSV").click()
    table = list(csv.reader(Path(download.value.path()).read_text().splitlines()))
    assert table[1][4] == "2"
    leads_on_and_is_taken_along(page, library)


def leads_on_and_is_taken_along(page: Page, library: Server) -> None:
    links = page.get_by_role("navigation", name="What to do with it")
    folder = str(library.data_dir / "adapters" / "pirate").replace("/", "%2F")
    for name, path in (
        ("Compare", f"/compare?adapter={folder}"),
        ("Spectrum", f"/spectrum?adapter={folder}"),
        ("Go on from it", f"/train?init_from={folder}"),
    ):
        expect(links.get_by_role("link", name=name)).to_have_attribute("href", path)
    with page.expect_download() as download:
        links.get_by_role("link", name="Download zip").click()
    assert download.value.suggested_filename == "pirate.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert "pirate/adapter_model.safetensors" in archive.namelist()


def test_another_adapter_is_chosen_in_the_field_and_the_tab_stays(
    library: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{library.url}{ADAPTERS.path}?adapter=json&tab=about")
    page.get_by_role("button", name="Open a folder").click()
    field = page.get_by_label("Adapter", exact=True)
    field.click()
    page.get_by_role("option", name="pirate (rank 4)").click()
    expect(page.locator("#adapter-heading h2")).to_have_text("pirate")
    open_tab(page, "Resize")
    page.wait_for_url(re.compile("tab=resize"))
    items(page).filter(has_text="json").click()
    expect(page.locator("#adapter-heading h2")).to_have_text("json")
    expect(page.get_by_role("tab", name="Resize")).to_have_attribute("aria-selected", "true")
    open_tab(page, "Table")
    page.wait_for_url(re.compile("tab=library"))
    page.reload()
    expect(page.get_by_role("tab", name="Table")).to_have_attribute("aria-selected", "true")
    table = page.locator("#all-adapters")
    expect(table.locator("tbody tr")).to_have_count(3)
    page.wait_for_function(
        "(box) => box.scrollWidth <= box.clientWidth",
        arg=table.locator(".rs-scroll").element_handle(),
    )
    expect(table.get_by_role("columnheader")).to_have_count(9)
    table.get_by_role("button", name="All columns").click()
    expect(table.get_by_role("columnheader")).to_have_count(15)
    expect(table.get_by_role("button", name="All columns")).to_be_focused()


def test_a_note_and_tags_are_kept_as_text_and_found(library: Server, open_page: OpenPage) -> None:
    page = open_page(f"{library.url}{ADAPTERS.path}?adapter=json")
    page.get_by_role("button", name="Note and tags").click()
    page.get_by_label("Note", exact=True).fill("<b onclick=alert(1)>bold</b>")
    page.get_by_role("textbox", name="Tags").fill("keep, neat")
    page.get_by_role("button", name="Keep note and tags").click()
    heading = page.locator("#adapter-heading")
    expect(heading).to_contain_text("<b onclick=alert(1)>bold</b>")
    expect(heading.locator(".rs-tag")).to_have_text(["keep", "neat"])
    page.get_by_label("Tag", exact=True).click()
    page.get_by_role("option", name="neat").click()
    expect(items(page)).to_have_count(1)
    expect(items(page)).to_contain_text("json")


def test_a_folder_is_added_opened_and_deleted_after_a_question(
    library: Server, open_page: OpenPage, elsewhere: Path
) -> None:
    page = open_page(f"{library.url}{ADAPTERS.path}")
    open_adding(page)
    page.get_by_label("Folder, zip or hub id").fill(str(elsewhere))
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#adapter-heading h2")).to_have_text("brought")
    expect(page.get_by_label("Checks")).to_contain_text("Right base?")
    page.get_by_role("button", name="Delete this adapter…").click()
    page.get_by_role("button", name="Keep it").click()
    page.get_by_role("button", name="Delete this adapter…").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("button", name="Delete this adapter…")).to_be_visible()
    expect(items(page)).to_have_count(3)
    assert not (library.data_dir / "adapters" / "brought").exists()
    assert elsewhere.exists()


def test_a_zip_is_uploaded_and_a_bad_one_is_refused_beside_the_button(
    library: Server, open_page: OpenPage, elsewhere: Path, tmp_path: Path
) -> None:
    page = open_page(f"{library.url}{ADAPTERS.path}")
    open_adding(page)
    bad, good = tmp_path / "bad.zip", tmp_path / "good.zip"
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("../evil", "x")
    with zipfile.ZipFile(good, "w") as archive:
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            archive.write(elsewhere / file, f"brought/{file}")
    upload_zip(page, bad)
    expect(page.get_by_role("alert").filter(has_text="leads out of it")).to_be_visible()
    page.get_by_role("textbox", name=re.compile("^Name")).fill("from zip")
    upload_zip(page, good)
    expect(page.get_by_role("alert").filter(has_text="got 'from zip'")).to_be_visible()
    page.get_by_role("textbox", name=re.compile("^Name")).fill("from-zip")
    upload_zip(page, good)
    expect(page.locator("#adapter-heading h2")).to_have_text("from-zip")


def test_an_adapter_that_is_not_here_is_said(library: Server, open_page: OpenPage) -> None:
    page = open_page(f"{library.url}{ADAPTERS.path}?adapter=nothing")
    expect(page.get_by_role("alert").filter(has_text="no adapter 'nothing'").first).to_be_visible()
    expect(items(page).last).to_be_visible()


def test_the_page_fits_a_phone(library: Server, open_page: OpenPage, screenshot) -> None:
    page = open_page(f"{library.url}{ADAPTERS.path}?adapter=json", width=390, dark=True)
    expect(page.locator("#adapter-heading h2")).to_have_text(re.compile("json"))
    expect(page.locator("#adapter-facts")).to_contain_text("json")
    wait_until_it_fits(page, 390)
    screenshot(page, "adapters-390")
