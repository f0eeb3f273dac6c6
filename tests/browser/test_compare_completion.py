"""A text is continued on the compare page: chosen by itself, said, saved, and overridden."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
from playwright.sync_api import Page, expect

from lora_engine.settings import Settings
from pages import COMPARE
from tests.browser.asking import asks_anew, finished
from tests.browser.compare_server import serve_with_adapter
from tests.browser.conftest import Server
from tests.training_runs import tiny_spec, train_here

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
BEGINNING = "The sky is blue and\nthe grass"


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    data = tmp_path_factory.mktemp("data")
    story = data / "story.txt"
    story.write_text("\n".join(f"The sky is blue, {number} times." for number in range(300)))
    few = {"max_steps": 2, "max_length": 128}
    spec = tiny_spec(Path("starter"), story, name="story", optimization=few)
    train_here(spec, data / "trained", Settings(data_dir=data, models_dir=data / "m", device="cpu"))
    copytree(data / "trained" / "adapter", data / "adapters" / "story")
    return serve_with_adapter(start_server, data, "noisy")


@pytest.fixture
def page(server: Server, open_page: OpenPage) -> Page:
    page = open_page(f"{server.url}{COMPARE.path}?adapter=story")
    expect(page.get_by_label("Text to continue")).to_be_enabled()
    return page


def continue_text(page: Page) -> None:
    page.get_by_label("Text to continue").fill(BEGINNING)
    asks_anew(page)
    page.get_by_role("button", name="Continue", exact=True).click()
    finished(page)


def test_a_text_adapter_is_given_a_text_to_continue(server: Server, page: Page) -> None:
    expect(page.locator("#asked-reason")).to_contain_text("story learned text without a chat")
    continue_text(page)
    expect(page.locator("#column-1").get_by_test_id("bot")).to_have_count(1)
    expect(page.locator("#compare-status")).to_contain_text("no template")
    page.wait_for_url(re.compile(r"session="))
    (saved,) = (server.data_dir / "sessions").glob("*.json")
    session = json.loads(saved.read_text())
    assert (session["mode"], session["columns"][0]["turns"][0]["content"]) == (
        "completion",
        BEGINNING,
    )
    page.reload()
    expect(page.get_by_label("Text to continue")).to_be_enabled()
    expect(page.locator("#column-1").get_by_test_id("bot")).to_have_count(1)
    page.get_by_role("tab", name="Settings").click()
    expect(page.get_by_role("radio", name="continue the text")).to_be_checked()
    page.get_by_role("tab", name="Token by token").click()
    page.get_by_role("button", name="Look closely").click()
    expect(page.locator("#tokens")).to_contain_text("Perplexity")


def test_the_switch_asks_it_as_a_chat_and_says_that_it_was_not_trained_so(page: Page) -> None:
    continue_text(page)
    page.get_by_role("tab", name="Settings").click()
    page.get_by_role("radio", name="as a chat").check()
    page.get_by_role("tab", name="Answers").click()
    expect(page.get_by_label("Your question")).to_be_enabled()
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#column-1")).to_contain_text("story: asked otherwise than trained")
    expect(page.locator("#compare-status")).to_contain_text(
        "story was trained without a chat template"
    )


def test_beside_a_chat_adapter_the_text_wins_and_both_are_named(
    server: Server, open_page: OpenPage
) -> None:
    noisy = server.data_dir / "adapters" / "noisy"
    template = {"chat_template": "the model's own"}
    (noisy / "provenance.json").write_text(json.dumps(template))
    page = open_page(f"{server.url}{COMPARE.path}?adapter=noisy,story")
    expect(page.get_by_label("Text to continue")).to_be_enabled()
    expect(page.locator("#asked-reason")).to_contain_text("whose marks it never saw")
    expect(page.locator("#compare-status")).to_contain_text(
        "noisy was trained with a chat template, and is asked without one here"
    )
