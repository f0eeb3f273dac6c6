"""The compare page's chat as a person uses it, with a random adapter on the starter model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from lora_engine.base_models import resolve_base_model
from lora_engine.settings import Settings
from pages import COMPARE
from tests.browser.conftest import Server
from tests.compare_models import save_adapter

OpenPage = Callable[..., Page]
QUESTION = "What colour is the sky?"


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server that knows one adapter of the starter."""
    data = tmp_path_factory.mktemp("data")
    base = resolve_base_model("starter", Settings(data_dir=data, models_dir=data / "models"))
    save_adapter(data / "adapters" / "noisy", base, r=2, lora_alpha=2)
    return start_server(data)


@pytest.fixture
def page(server: Server, open_page: OpenPage) -> Page:
    page = open_page(server.url + COMPARE.path)
    expect(page.get_by_label("Your question")).to_be_enabled()
    return page


def answers(page: Page, column: int) -> Locator:
    return page.locator(f"#column-{column}").get_by_test_id("bot")


def ask(page: Page, question: str = QUESTION) -> None:
    page.get_by_label("Your question").fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()


def finished(page: Page) -> None:
    """Wait for the proof, which is shown after the last token."""
    expect(page.locator("#compare-status")).to_contain_text("largest |Δ logit|", timeout=60_000)


def test_both_columns_answer_and_the_proof_is_shown(page: Page) -> None:
    ask(page)
    finished(page)
    expect(answers(page, 0)).to_contain_text("blue")
    expect(answers(page, 1)).to_have_count(1)
    assert answers(page, 0).inner_text() != answers(page, 1).inner_text()
    expect(page.locator("#compare-status")).to_contain_text("The base column is the bare base")
