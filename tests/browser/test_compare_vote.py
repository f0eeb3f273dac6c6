"""A blind vote: no name in the page before it, both names after it, counted once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from pages import COMPARE
from tests.browser.compare_server import serve_with_adapter
from tests.browser.conftest import Server

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    return serve_with_adapter(start_server, tmp_path_factory.mktemp("data"), "noisy")


def test_a_blind_vote_shows_names_only_after_the_choice(
    server: Server, open_page: OpenPage, screenshot: Callable[[Page, str], Path]
) -> None:
    page = open_page(server.url + COMPARE.path)
    expect(page.get_by_label("Your question")).to_be_enabled()
    page.get_by_role("tab", name="Blind vote").click()
    left = page.get_by_role("button", name="Left is better")
    expect(left).to_be_disabled()

    page.get_by_label("Set of prompts").click()
    page.get_by_role("option", name="general questions").click()
    page.get_by_role("button", name="Draw a question").click()
    question = page.get_by_label("Question to vote on")
    expect(question).not_to_have_value("")
    page.get_by_role("button", name="Answer blind").click()
    expect(left).to_be_enabled()
    for side in ("left", "right"):
        shown = page.locator(f"#vote-{side}").inner_text()
        assert "Base" not in shown
        assert "noisy" not in shown

    left.click()
    revealed = page.locator("#vote-result").get_by_role("status")
    expect(revealed).to_contain_text("Left was")
    expect(revealed).to_contain_text("noisy")
    expect(left).to_be_disabled()
    table = page.locator("#vote-table")
    expect(table.get_by_role("row")).to_have_count(3)
    expect(table).to_contain_text("more votes are needed")
    screenshot(page, "compare-vote")

    page.get_by_label("Count", exact=True).click()
    page.get_by_role("option", name="my own questions").click()
    expect(table).to_contain_text("No votes on this base yet")


def test_another_chat_template_is_said_with_the_names_and_not_before(
    server: Server, open_page: Callable[..., Page]
) -> None:
    provenance = server.data_dir / "adapters" / "noisy" / "provenance.json"
    provenance.write_text(json.dumps({"chat_template_hash": "0" * 16}))
    page = open_page(server.url + COMPARE.path)
    page.get_by_role("tab", name="Blind vote").click()
    page.get_by_label("Question to vote on").fill("What colour is the sky?")
    page.get_by_role("button", name="Answer blind").click()
    tie = page.get_by_role("button", name="A tie")
    expect(tie).to_be_enabled()
    assert "template" not in page.locator("#tool-vote").inner_text()
    tie.click()
    said = page.locator("#vote-result .rs-badge-bad")
    expect(said).to_contain_text("noisy was trained with another chat template (0000000000000000)")
