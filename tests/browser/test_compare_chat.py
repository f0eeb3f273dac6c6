"""The compare page's chat as a person uses it, with a random adapter on the starter model."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from lora_engine.base_models import (
    fingerprint,
    load_tokenizer,
    resolve_base_model,
)
from lora_engine.chat_template import template_hash, templates_of
from lora_engine.settings import Settings
from pages import COMPARE
from tests.browser.asking import ask, asks_anew, finished
from tests.browser.compare_server import serve_with_adapter
from tests.browser.conftest import Server
from tests.compare_models import save_adapter

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
RED = "rgb(185, 28, 28)"
QUESTION = "What colour is the sky?"


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    return serve_with_adapter(start_server, tmp_path_factory.mktemp("data"), "noisy")


@pytest.fixture
def page(server: Server, open_page: OpenPage) -> Page:
    page = open_page(server.url + COMPARE.path)
    expect(page.get_by_label("Your question")).to_be_enabled()
    return page


def answers(page: Page, column: int) -> Locator:
    return page.locator(f"#column-{column}").get_by_test_id("bot")


def tool(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def test_both_columns_answer_and_the_proof_is_shown(page: Page) -> None:
    ask(page, QUESTION)
    finished(page)
    expect(answers(page, 0)).to_contain_text("blue")
    expect(answers(page, 1)).to_have_count(1)
    assert answers(page, 0).inner_text() != answers(page, 1).inner_text()
    expect(page.locator("#compare-status")).to_contain_text("The base column is the bare base")


def test_retry_undo_and_edit(page: Page) -> None:
    ask(page, QUESTION)
    finished(page)
    first = answers(page, 0).inner_text()
    asks_anew(page)
    page.get_by_role("button", name="Retry").click()
    finished(page)
    expect(answers(page, 0)).to_have_text([first])

    column = page.locator("#column-1")
    column.get_by_test_id("user").hover()
    column.get_by_role("button", name="Edit").click()
    column.get_by_role("textbox").fill("What colour is grass?")
    asks_anew(page)
    column.get_by_role("button", name="Submit").click()
    expect(page.locator("#column-0").get_by_test_id("user")).to_contain_text("grass")
    expect(answers(page, 0)).to_contain_text("green")
    finished(page)

    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_label("Your question")).to_have_value("What colour is grass?")
    expect(answers(page, 0)).to_have_count(0)


def test_the_strength_acts_at_once_and_0_is_the_base(page: Page) -> None:
    ask(page, QUESTION)
    finished(page)
    base, adapted = answers(page, 0).inner_text(), answers(page, 1).inner_text()
    assert base != adapted
    page.get_by_label("number input for Strength of noisy").fill("0")
    expect(page.locator("#compare-status")).to_contain_text("at strength 0")
    expect(answers(page, 1)).to_have_text(base)


def test_a_layer_switched_off_changes_the_answers_probability(page: Page) -> None:
    ask(page, QUESTION)
    finished(page)
    tool(page, "Token by token")
    page.get_by_role("button", name="Look closely").click()
    said = page.locator("#layers-switched").get_by_role("status")
    expect(said).to_contain_text("all layers on")
    page.locator("#layers-on").get_by_label("0", exact=True).uncheck()
    expect(said).to_contain_text("without layer 0")
    page.locator("#layers-on").get_by_label("1", exact=True).uncheck()
    expect(said).to_contain_text("without layers 0, 1")


def test_layers_switched_off_in_the_chat_are_said_and_all_off_is_the_base(page: Page) -> None:
    tool(page, "Settings")
    page.get_by_label("Temperature").fill("1")
    tool(page, "Answers")
    ask(page, QUESTION)
    finished(page)
    base, adapted = answers(page, 0).inner_text(), answers(page, 1).inner_text()
    assert base != adapted
    field = page.get_by_label("Layers off in noisy")
    tool(page, "Settings")
    field.fill("3-0")
    field.press("Enter")
    tool(page, "Answers")
    expect(page.get_by_role("alert").first).to_contain_text("do not run upwards")
    tool(page, "Settings")
    field.fill("0-3")
    asks_anew(page)
    field.press("Enter")
    heading = page.locator("#column-1").get_by_text("noisy, layers 0–3 off")
    expect(heading).to_be_visible()
    expect(answers(page, 1)).to_have_text(base)
    finished(page)
    page.reload()
    expect(heading).to_be_visible()
    expect(answers(page, 1)).to_have_text(base)
    tool(page, "Settings")
    expect(field).to_have_value("0-3")


def test_the_layers_looked_at_are_used_in_the_chat(page: Page) -> None:
    ask(page, QUESTION)
    finished(page)
    tool(page, "Token by token")
    page.get_by_role("button", name="Look closely").click()
    for layer in ("1", "2"):
        page.locator("#layers-on").get_by_label(layer, exact=True).uncheck()
    page.get_by_role("button", name="Use these layers in the chat").click()
    expect(page.locator("#column-1").get_by_text("noisy, layers 1–2 off")).to_be_visible()
    expect(page.locator("#compare-status")).to_contain_text("noisy, layers 1–2 off")
    tool(page, "Settings")
    expect(page.get_by_label("Layers off in noisy")).to_have_value("1-2")


def test_a_comparison_is_kept_reopened_and_exported(server: Server, page: Page) -> None:
    tool(page, "Settings")
    page.get_by_label("System prompt").fill("Be brief.")
    tool(page, "Answers")
    page.get_by_label("number input for Strength of noisy").fill("0.5")
    ask(page, QUESTION)
    finished(page)
    page.wait_for_url(re.compile(r"session="))
    said = [answers(page, column).inner_text() for column in (0, 1)]
    with page.expect_download() as taken:
        page.get_by_role("link", name="Markdown").click()
    text = Path(taken.value.path()).read_text("utf-8")
    assert f"> {QUESTION}" in text
    assert "at strength 0.5" in text

    page.reload()
    expect(answers(page, 0)).to_have_text(said[0])
    expect(answers(page, 1)).to_have_text(said[1])
    expect(page.get_by_label("number input for Strength of noisy")).to_have_value("0.5")
    tool(page, "Settings")
    expect(page.get_by_label("System prompt")).to_have_value("Be brief.")
    tool(page, "Answers")
    page.locator("#column-1").get_by_role("button", name="Clear").click()  # clears all columns
    expect(answers(page, 0)).to_have_count(0)
    page.wait_for_function("!location.search.includes('session')")


def test_an_unknown_comparison_is_said_and_the_page_works(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{server.url}{COMPARE.path}?session=../../runs")
    expect(page.get_by_role("alert").first).to_contain_text("no kept comparison")
    expect(page.get_by_label("Your question")).to_be_enabled()
    ask(page, QUESTION)
    finished(page)


def test_another_chat_template_stands_in_red_until_the_adapter_is_another(
    server: Server, open_page: OpenPage
) -> None:
    settings = Settings(data_dir=server.data_dir, models_dir=server.data_dir / "m")
    base = resolve_base_model("starter", settings)
    odd = save_adapter(server.data_dir / "odd", base, seed=9, r=2, lora_alpha=2)
    provenance = {"base_fingerprint": fingerprint(base), "chat_template_hash": "0" * 16}
    (odd / "provenance.json").write_text(json.dumps(provenance))
    page = open_page(f"{server.url}{COMPARE.path}?adapter={odd}")
    expect(page.get_by_label("Your question")).to_be_enabled()
    column, status = page.locator("#column-1"), page.locator("#compare-status")
    ours = template_hash(templates_of(load_tokenizer(base)))

    def stands() -> None:
        expect(column).to_have_class(re.compile("rs-other-template"))
        expect(column).to_contain_text("odd: asked otherwise than trained")
        expect(status).to_contain_text(
            "odd was trained with another chat template (0000000000000000)"
        )
        expect(status.locator(".rs-badge-bad").first).to_contain_text(ours)
        expect(status.locator(".rs-badge-bad").first).to_have_css("color", RED)

    stands()  # before anything was asked
    ask(page, QUESTION)
    finished(page)
    stands()
    expect(status.locator(".rs-badge").last).to_contain_text("ANOTHER chat template: 00000000")
    expect(status.locator(".rs-badge").last).to_have_css("color", RED)
    page.wait_for_url(re.compile(r"session="))
    with page.expect_download() as taken:
        page.get_by_role("link", name="Markdown").click()
    assert "**Warning:** odd was trained with another" in Path(taken.value.path()).read_text()
    page.reload()
    stands()
    column.get_by_role("button", name="Clear").click()
    expect(status).not_to_contain_text("tokens")
    stands()
    adapters = page.get_by_label("Adapters", exact=True)
    adapters.click()
    adapters.press("Backspace")
    expect(status).to_have_text("")
    expect(column).to_be_hidden()
    adapters.click()
    page.get_by_role("option", name=re.compile("noisy")).click()
    expect(column).to_contain_text("noisy")
    expect(column).not_to_have_class(re.compile("rs-other-template"))


def test_what_is_said_is_shown_as_text_code_and_formulas_never_as_markup(page: Page) -> None:
    evil = "<svg onload=\"document.title='owned'\"></svg><a href='javascript:alert(1)'>x</a>"
    ask(page, f"{evil} $x^2$ and\n```\n<b>code</b>\n```")
    finished(page)
    said = page.locator("#column-0").get_by_test_id("user")
    expect(said.locator(".katex").first).to_be_visible()
    expect(said.locator("pre code")).to_contain_text("<b>code</b>")
    assert said.locator("[onload], [href^=javascript]").count() == 0
    assert page.title() != "owned"


def test_what_is_typed_as_a_tool_opens_stays(page: Page) -> None:
    tool(page, "Another server")
    page.get_by_label("Address").fill("http://typed")
    page.wait_for_timeout(500)  # Gradio sets a new field's first value within some frames
    expect(page.get_by_label("Address")).to_have_value("http://typed")


def test_another_servers_key_stays_out_of_page_log_and_export(server: Server, page: Page) -> None:
    key = "sk-do-not-show-me"
    tool(page, "Another server")
    page.get_by_label("Address").fill("http://127.0.0.1:1/v1")
    page.get_by_label("Model's name there").fill("some-model")
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Add the column").click()
    expect(page.get_by_label("Key", exact=True)).to_have_value("")
    expect(page.locator("#column-2")).to_contain_text("some-model at 127.0.0.1:1")
    ask(page, QUESTION)
    finished(page)
    expect(page.locator("#compare-status")).to_contain_text("gave no answer")
    expect(answers(page, 0)).to_contain_text("blue")
    page.wait_for_url(re.compile(r"session="))
    assert key not in page.content()
    kept = list(contents(server.data_dir))
    assert kept
    assert not any(key.encode() in content for content in kept)


def contents(folder: Path) -> Iterator[bytes]:
    """Of every file; one that the server has just put in another's place is gone."""
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            yield path.read_bytes()


def test_a_reopened_servers_column_says_in_place_what_it_needs(page: Page) -> None:
    tool(page, "Another server")
    page.get_by_label("Address").fill("http://127.0.0.1:1/v1")
    page.get_by_label("Model's name there").fill("some-model")
    page.get_by_role("button", name="Add the column").click()
    column = page.locator("#column-2")
    expect(column).to_contain_text("some-model at 127.0.0.1:1")
    ask(page, QUESTION)
    finished(page)
    page.wait_for_url(re.compile(r"session="))
    page.reload()
    expect(column).to_contain_text("some-model at 127.0.0.1:1: not connected")
    expect(page.locator("#compare-status")).to_contain_text("its key is not kept")
    ask(page, "And grass?")
    expect(page.get_by_role("alert").first).to_contain_text("Give its key again")
    tool(page, "Another server")
    expect(page.get_by_role("textbox", name="Address")).to_have_value("http://127.0.0.1:1/v1")
    expect(page.get_by_label("Model's name there")).to_have_value("some-model")
    page.get_by_role("button", name="Add the column").click()
    expect(page.locator("#compare-status")).to_have_text("")
    ask(page, "And grass?")
    finished(page)
    expect(column.get_by_test_id("user")).to_have_count(2)
    expect(answers(page, 0)).to_have_count(2)

    page.reload()
    expect(column).to_contain_text("not connected")
    column.get_by_role("button", name="Clear").click()
    expect(column).to_be_hidden()
    ask(page, QUESTION)
    finished(page)


def test_two_tabs_on_one_comparison_lose_no_turns(
    server: Server, open_page: OpenPage, page: Page
) -> None:
    ask(page, QUESTION)
    finished(page)
    page.wait_for_url(re.compile(r"session="))
    other = open_page(page.url)
    expect(answers(other, 0)).to_have_count(1)
    ask(page, "What colour is grass?")
    finished(page)
    expect(answers(page, 0)).to_have_count(2)
    first = page.url
    ask(other, "Name three animals.")
    expect(other.locator("#compare-kept")).to_contain_text("Both are kept")
    other.wait_for_url(lambda url: url != first)
    for tab, asked in ((page, "What colour is grass?"), (other, "Name three animals.")):
        tab.reload()
        expect(tab.locator("#column-1").get_by_test_id("user")).to_have_text([QUESTION, asked])


def test_two_tabs_that_ask_at_once_are_both_answered(server: Server, open_page: OpenPage) -> None:
    first, second = (open_page(server.url + COMPARE.path) for _ in range(2))
    ask(first, QUESTION)
    ask(second, "What colour is grass?")
    finished(first)
    finished(second)
    expect(answers(first, 0)).to_contain_text("blue")
    expect(answers(second, 0)).to_contain_text("green")
