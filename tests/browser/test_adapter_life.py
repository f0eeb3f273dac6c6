"""An adapter's life on its page: resized, combined, compared, exported, added again by its zip."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from tests.browser.compare_server import serve_with_adapter
from tests.browser.conftest import Server
from tests.hub_server import TOKEN, HubState, running_hub

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
PUSHED = re.compile("of the private repository\\s+me/json")
LONG_MS = 240_000  # the losses of three models, on a busy machine
PROGRAMS = 5  # PEFT, vLLM, llama.cpp, Ollama, TGI


@pytest.fixture(scope="module")
def hub() -> Iterator[HubState]:
    """A model hub on this machine."""
    with running_hub() as state:
        yield state


@pytest.fixture(scope="module")
def adapters(
    start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory, hub: HubState
):
    """A server that knows two adapters of the starter, which say what they were trained on."""
    folder = tmp_path_factory.mktemp("life")
    server = serve_with_adapter(
        start_server, folder, "json", "pirate", HF_ENDPOINT=hub.endpoint, HF_TOKEN=TOKEN,
        HF_HUB_OFFLINE="0", HF_HUB_DISABLE_XET="1",
    )  # fmt: skip
    for name in ("json", "pirate"):
        spec = {"base_model": "starter", "dataset": {"source": f"starter:{name}"}}
        provenance = {"base_model": "starter", "spec": spec}
        (folder / "adapters" / name / "provenance.json").write_text(json.dumps(provenance), "utf-8")
    return server


def test_an_adapters_life(
    adapters: Server, open_page: OpenPage, screenshot: Callable, tmp_path: Path
) -> None:
    """Every step of it, each with what the one before left."""
    page = open_page(f"{adapters.url}/adapters?adapter=pirate&tab=resize")
    resized(page, adapters, screenshot)
    compared(page, "Compare the two", "pirate", "pirate-1")
    page = open_page(f"{adapters.url}/adapters?adapter=pirate-1&tab=combine")
    combined(page, adapters)
    compared(page, "Compare them", "pirate-1", "json", "pirate-1-combined")
    page = open_page(f"{adapters.url}/adapters?adapter=pirate-1-combined&tab=take-away")
    file = exported(page, adapters, screenshot, tmp_path)
    added_again(page, adapters, file)


def resized(page: Page, adapters: Server, screenshot: Callable) -> None:
    rank = page.locator("#resize-rank input").first
    energy = page.locator("#resize-chosen .rs-tile").nth(1).locator("dd").first
    expect(energy).to_contain_text("%")
    rank.fill("2")
    expect(energy).to_have_text("100 %")
    rank.fill("1")
    expect(energy).to_have_text(re.compile(r"^\d{1,2}(\.\d+)? %$"))
    said = energy.inner_text()
    page.locator("#resize-name").get_by_role("textbox").fill("pirate-1")

    page.locator("#resize-write").click()

    expect(page.locator("#resize-summary")).to_contain_text(said)
    expect(page.locator("#resize-losses tbody tr")).to_have_count(4, timeout=LONG_MS)
    losses = page.locator("#resize-losses")
    expect(losses.get_by_text("pirate's held-out rows")).to_have_count(2)
    expect(losses.get_by_text("general questions")).to_have_count(2)
    expect(page.locator("#resize-stop")).to_be_hidden()
    screenshot(page, "resize")
    assert config_of(adapters, "pirate-1")["r"] == 1

    page.locator("#resize-write").click()  # the name is taken now
    expect(page.get_by_role("alert").filter(has_text="exists already")).to_be_visible()
    replace = page.locator("#resize-replace")
    replace.click()
    expect(page.locator("#resize-losses tbody tr")).to_have_count(4, timeout=LONG_MS)
    expect(replace).to_be_hidden()


def combined(page: Page, adapters: Server) -> None:
    field = page.locator("#combine-with input")
    field.click()
    page.get_by_role("option", name=re.compile("^json ")).click()
    field.blur()
    page.get_by_label("Weight of json").fill("0.5")
    page.locator("#combine-write").click()
    expect(page.locator("#combine-summary .rs-tile").first).to_be_visible()
    page.locator("#combine-stop").click()  # its losses are another test's
    expect(page.locator("#combine-stop")).to_be_hidden()
    assert config_of(adapters, "pirate-1-combined")["r"] == 3


def compared(page: Page, link: str, *names: str) -> None:
    page.get_by_role("link", name=link).click()
    page.wait_for_url(re.compile("/compare"))
    for number, name in enumerate(names, 1):
        expect(page.locator(f"#column-{number}")).to_contain_text(name)


def exported(page: Page, adapters: Server, screenshot: Callable, tmp_path: Path) -> Path:
    """The zip of the portable export of pirate-1-combined."""
    expect(page.locator("#take-away-now tbody tr")).to_have_count(PROGRAMS)
    name = page.locator("#take-away-name").get_by_role("textbox")
    expect(name).to_have_value("pirate-1-combined-portable")
    page.locator("#take-away-form").get_by_text("ollama:").click()
    expect(page.locator("#take-away-system")).to_be_visible()
    expect(name).to_have_value("pirate-1-combined-ollama")
    page.locator("#take-away-form").get_by_text("portable:").click()
    expect(page.locator("#take-away-system")).to_be_hidden()
    expect(name).to_have_value("pirate-1-combined-portable")

    page.locator("#take-away-write").click()

    tiles = page.locator("#take-away-fidelity .rs-tile")
    expect(tiles.first).to_contain_text("100 %", timeout=LONG_MS)
    expect(page.locator("#take-away-fidelity")).to_contain_text("general questions")
    expect(page.locator("#take-away-loads tbody tr").filter(has_text="yes")).to_have_count(PROGRAMS)
    expect(page.locator("#take-away-commands")).to_contain_text("vllm serve")
    screenshot(page, "take-away")
    assert config_of(adapters, "pirate-1-combined-portable", "exports")["lora_alpha"] == 3

    with page.expect_download() as download:
        page.get_by_role("link", name="Download zip").and_(
            page.locator("#take-away-next a")
        ).click()
    target = tmp_path / download.value.suggested_filename
    download.value.save_as(target)
    page.locator("#take-away-write").click()  # the name is taken now
    expect(page.get_by_role("alert").filter(has_text="exists already")).to_be_visible()
    expect(page.locator("#take-away-replace")).to_be_visible()
    expect(page.locator("#take-away-commands")).to_be_hidden()
    return target


def added_again(page: Page, adapters: Server, file: Path) -> None:
    page.get_by_role("button", name="Add an adapter").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a zip").click()
    chooser.value.set_files(file)
    expect(page.locator("#adapter-heading h2")).to_have_text("pirate-1-combined-portable")
    assert config_of(adapters, "pirate-1-combined-portable")["r"] == 3


def config_of(adapters: Server, name: str, where: str = "adapters") -> dict:
    file = adapters.data_dir / where / name / "adapter_config.json"
    return json.loads(file.read_text("utf-8"))


def test_a_push_is_asked_about_first(
    adapters: Server, hub: HubState, open_page: OpenPage, screenshot: Callable
) -> None:
    page = open_page(f"{adapters.url}/adapters?adapter=json&tab=take-away")
    page.get_by_role("button", name="Base and measurement").click()
    page.get_by_label("Measure what the export kept").uncheck()
    page.get_by_role("button", name="Push to the model hub").click()
    page.get_by_label("Repository").fill("me/json")
    ask, sure, replace = (page.locator(f"#push-{name}") for name in ("ask", "sure", "replace"))
    question = page.locator("#push-question")
    ask.click()
    expect(question).to_contain_text("me/json")
    page.get_by_label("Repository").fill("me/json2")  # is another question
    expect(question).to_be_hidden()
    page.get_by_label("Repository").fill("me/json")
    ask.click()
    expect(question).to_be_visible()
    page.locator("#push-leave").click()
    expect(question).to_be_hidden()
    assert hub.asked == []

    ask.click()
    sure.click()
    expect(page.locator("#take-away-written")).to_contain_text(PUSHED)
    expect(question).to_be_hidden()
    repository = hub.repositories["me/json"]
    assert repository.private
    assert "adapter_model.safetensors" in repository.files

    ask.click()
    expect(replace).to_be_hidden()
    sure.click()
    expect(page.get_by_role("alert").filter(has_text="on the hub already")).to_be_visible()
    screenshot(page, "push")
    assert len(repository.commits) == 2
    replace.click()
    expect(page.locator("#take-away-written")).to_contain_text(PUSHED)
    assert len(repository.commits) == 3
    assert TOKEN not in page.content()
    is_listed_and_deleted(page, adapters, screenshot)


def is_listed_and_deleted(page: Page, adapters: Server, screenshot: Callable) -> None:
    exports = adapters.data_dir / "exports"
    shutil.copytree(exports / "json-portable", exports / "json-second")
    page.reload()
    page.get_by_role("button", name="Exports in the data folder").click()
    listed = page.locator("#exports-table tbody tr").filter(has_text="json-portable")
    expect(listed).to_have_count(1)
    page.locator("#exports-delete").click()
    expect(page.get_by_role("alert").filter(has_text="No export is chosen")).to_be_visible()

    def choose(name: str) -> None:
        page.locator("#exports-name input").click()
        page.get_by_role("option", name=name).click()

    choose("json-portable")
    page.locator("#exports-delete").click()
    question = page.get_by_text("Delete json-portable for good?")
    expect(question).to_be_visible()
    screenshot(page, "exports")
    choose("json-second")  # the question was about the other
    expect(question).to_be_hidden()
    choose("json-portable")
    page.locator("#exports-delete").click()
    page.get_by_role("button", name="Delete for good").and_(page.locator(":visible")).click()
    expect(listed).to_have_count(0)
    assert not (exports / "json-portable").exists()
    assert (exports / "json-second").is_dir()


def test_a_script_resizes_and_exports(adapters: Server) -> None:
    client = Client(adapters.url, verbose=False)
    small = client.predict("json", "json-1", rank=1, api_name="/resize")
    assert small["folder"] == str(adapters.data_dir / "adapters" / "json-1")
    taken = client.predict("json-1", "json-1", measure=False, api_name="/export")
    assert taken["folder"] == str(adapters.data_dir / "exports" / "json-1")
    assert taken["form"] == "portable"


def test_a_size_that_is_none_is_refused_beside_the_field(
    adapters: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{adapters.url}/adapters?adapter=json&tab=resize")
    for rank, words in (("3", "Rank 3"), ("0", "Rank 0")):
        page.locator("#resize-rank input").first.fill(rank)
        page.locator("#resize-write").click()
        expect(page.get_by_role("alert").filter(has_text=words)).to_be_visible()
    assert not Path(adapters.data_dir / "adapters" / "json-resized").exists()
