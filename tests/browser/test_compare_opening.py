"""What the compare page opens on: a question that the adapter's run answered, and one's own in
reach."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from pages import COMPARE
from tests.browser.asking import ask, finished
from tests.browser.compare_server import serve_with_adapter
from tests.browser.conftest import Server, wait_until_it_fits

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
NOTED = [(0, "Noted by the base."), (40, "Noted by the adapter.")]


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    data = tmp_path_factory.mktemp("data")
    server = serve_with_adapter(start_server, data, "noisy")
    adapter = data / "adapters" / "noisy"
    spec = {"base_model": "starter", "method": {"finetuning_type": "lora"}}
    (adapter / "provenance.json").write_text(json.dumps({"base_model": "starter", "spec": spec}))
    rows = [
        {"step": step, "prompt": "What is noted?", "text": text, "finished": True}
        for step, text in NOTED
    ]
    (adapter / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return server


def said(page: Page, column: int, whose: str = "bot") -> Locator:
    return page.locator(f"#column-{column}").get_by_test_id(whose)


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_page_opens_answered_with_ones_own_question_in_sight(
    server: Server,
    open_page: OpenPage,
    screenshot: Callable[[Page, str], object],
    width: int,
    height: int,
) -> None:
    page = open_page(server.url + COMPARE.path, width=width, height=height)
    question = page.get_by_label("Your question")
    expect(question).to_be_enabled()
    for column, (_, text) in enumerate(NOTED):
        expect(said(page, column)).to_have_text(text)
        expect(said(page, column)).to_be_in_viewport()
    expect(page.locator("#compare-status")).to_contain_text("after step 40")
    for part in (question, page.get_by_role("button", name="Ask", exact=True)):
        expect(part).to_be_in_viewport(ratio=1)
    wait_until_it_fits(page, width)
    screenshot(page, f"compare-opening-{width}")


def test_ones_own_question_begins_anew_and_paper_shows_the_answers_alone(
    server: Server, open_page: OpenPage, screenshot: Callable[[Page, str], object]
) -> None:
    page = open_page(server.url + COMPARE.path, dark=True)
    expect(page.get_by_label("Your question")).to_be_enabled()
    ask(page, "What colour is the sky?")
    finished(page)
    for column in (0, 1):
        expect(said(page, column, "user")).to_have_text(["What colour is the sky?"])
        expect(said(page, column)).to_have_count(1)

    page.emulate_media(media="print")
    for hidden in (page.get_by_role("button", name="Ask", exact=True), page.get_by_role("tablist")):
        expect(hidden).to_be_hidden()
    answer = said(page, 1)
    measured = page.locator("#compare-status").bounding_box()
    assert answer.bounding_box()["y"] + answer.bounding_box()["height"] <= measured["y"]
    colours = answer.evaluate("(e) => [getComputedStyle(e).color, getComputedStyle(e).background]")
    assert colours[0] == "rgb(0, 0, 0)"
    assert "rgb(255, 255, 255)" in colours[1]
    screenshot(page, "compare-print")
