"""A preference run from the Train page to its curves, and what the form shows of it before."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from pages import TRAIN
from tests.browser.conftest import Server

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    """One of this file's own: its tests make runs or sets."""
    return start_server()


def test_the_polite_example_shows_both_answers_trains_and_draws_its_margins(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(server.url + TRAIN.path)
    page.get_by_role("radio", name="Polite answers, by preference").check()
    rows = page.locator("#rows")
    expect(rows).to_contain_text("preference")
    pair = rows.locator(".rs-pair").first
    expect(pair).to_contain_text("chosen")
    expect(pair.locator("mark", has_text="Certainly")).to_be_visible()
    expect(pair).to_contain_text("rejected")
    expect(page.locator("#field-objective-kind").locator("input")).to_have_value(
        re.compile("^ORPO")
    )

    page.get_by_role("button", name="Training steps").click()
    page.locator("#field-optimization-max-steps").locator("input").fill("4")
    page.get_by_role("button", name="Start training").click()

    page.wait_for_url("**/runs?run=*")
    expect(page.get_by_text("finished").first).to_be_visible(timeout=120_000)
    expect(page.locator("#curve-reward_margin")).to_be_visible()
    expect(page.locator("#curve-reward_accuracy")).to_be_visible()
    expect(page.locator("#curve-equal_groups")).to_be_hidden()
