"""Back undoes the last choice, on pages that keep their state in the address."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
SLOW_CLOCK = """() => {
    const began = performance.now();
    const now = performance.now.bind(performance);
    performance.now = () => began + (now() - began) / 100;
}"""  # a machine that is busy between two keys makes no second step of a drag


def test_back_brings_back_the_matrix_before(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"{server.url}/spectrum?sample=teaching&k=2")
    heading = page.locator("#matrix-view h2")
    expect(heading).to_contain_text("Teaching matrix")
    page.get_by_label("Hilbert matrix").check()
    expect(page).to_have_url(re.compile("sample=hilbert"))
    page.get_by_label("Low rank plus noise").check()
    expect(page).to_have_url(re.compile("sample=low-rank"))
    page.go_back()
    expect(heading).to_contain_text("Hilbert matrix")
    page.go_back()
    expect(heading).to_contain_text("Teaching matrix")
    expect(page).to_have_url(re.compile("sample=teaching&k=2"))


def test_back_takes_a_field_back_and_a_drag_is_one_step(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{server.url}/?rank=4")
    rank = page.locator("#field-method-rank input[type=number]")
    expect(rank).to_have_value("4")
    page.evaluate(SLOW_CLOCK)
    page.locator("#field-method-rank input[type=range]").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile("rank=7"))
    page.go_back()
    expect(rank).to_have_value("4")
    page.go_forward()
    expect(rank).to_have_value("7")
