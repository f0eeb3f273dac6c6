"""A set of prompts in the browser: upload, answer, stop, download, held-out rows by one click."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lora_engine.starter import heldout_path
from pages import COMPARE
from tests.browser.compare_server import serve_with_adapter
from tests.browser.conftest import Server

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    data = tmp_path_factory.mktemp("data")
    server = serve_with_adapter(start_server, data, "noisy")
    provenance = {"spec": {"base_model": "starter", "dataset": {"source": "starter:pirate"}}}
    (data / "adapters" / "noisy" / "provenance.json").write_text(json.dumps(provenance))
    return server


@pytest.fixture
def page(server: Server, open_page: OpenPage) -> Page:
    page = open_page(server.url + COMPARE.path)
    expect(page.get_by_label("Your question")).to_be_enabled()
    page.get_by_role("tab", name="Prompt set").click()
    return page


def test_a_csv_is_answered_checked_compared_and_downloaded(
    page: Page, tmp_path: Path, screenshot: Callable[[Page, str], Path]
) -> None:
    path = tmp_path / "questions.csv"
    path.write_text("prompt,expected\nWhat colour is the sky?,blue\nWhat colour is grass?,green\n")
    page.locator("#prompt-set input[type=file]").set_input_files(path)
    expect(page.locator("#prompts textarea")).to_have_value(
        '{"prompt": "What colour is the sky?", "expected": "blue"}\n'
        '{"prompt": "What colour is grass?", "expected": "green"}'
    )
    page.get_by_label("Check that an answer").click()
    page.get_by_role("option", name="contains the expected text").click()
    page.get_by_role("button", name="Answer all").click()
    summary = page.locator("#set-summary")
    expect(summary).to_contain_text("2 prompts answered.", timeout=60_000)
    expect(summary.get_by_role("listitem").first).to_contain_text("2 of 2 pass")
    expect(page.locator("#set-table").get_by_role("row")).to_have_count(3)
    expect(page.locator("#set-differences ins").first).to_be_visible()
    screenshot(page, "compare-set")

    with page.expect_download() as taken:
        page.get_by_role("button", name="Download JSONL").click()
    lines = Path(taken.value.path()).read_text("utf-8").splitlines()
    assert taken.value.suggested_filename == "answers.jsonl"
    assert [json.loads(line)["answers"][0]["passes"] for line in lines] == [True, True]
    with page.expect_download() as table:
        page.locator("#set-table").get_by_role("button", name="Download CSV").click()
    assert "What colour is grass?" in Path(table.value.path()).read_text("utf-8")


def test_the_held_out_rows_by_one_click_and_a_stop(page: Page) -> None:
    page.get_by_role("button", name="Take the adapter's held-out rows").click()
    prompts = page.locator("#prompts textarea")
    expect(prompts).not_to_have_value("")
    rows = len(heldout_path("pirate").read_text("utf-8").splitlines())
    assert len(prompts.input_value().splitlines()) == rows
    rows *= 6  # enough that a busy machine presses Stop before the last answer
    prompts.fill("\n".join(prompts.input_value().splitlines() * 6))
    page.get_by_role("button", name="Answer all").click()
    summary = page.locator("#set-summary")
    expect(summary).to_contain_text(f"of {rows} prompts answered", timeout=60_000)
    page.locator("#stop-set").click()
    expect(summary).to_contain_text("tokens on average")
    answered = page.locator("#set-table").get_by_role("row")
    expect(answered.nth(1)).to_be_visible()  # after the row of headings
    assert answered.count() - 1 < rows


def test_the_loss_on_held_out_rows_has_an_interval(page: Page) -> None:
    page.get_by_role("tab", name="Forgetting and loss").click()
    page.get_by_role("button", name="Measure", exact=True).click()
    summary = page.locator("#held-out-result")
    expect(summary).to_contain_text("95 % between", timeout=60_000)
    expect(summary).to_contain_text("60 rows")


def test_forgetting_has_a_word(page: Page) -> None:
    page.get_by_role("tab", name="Forgetting and loss").click()
    page.get_by_role("button", name="Measure what was forgotten").click()
    result = page.locator("#forgetting-result")
    expect(result).to_contain_text("noisy: slightly forgotten.", timeout=60_000)
    expect(result).to_contain_text("120 rows")
