"""The objective on the train page: its fields follow the kind, and rules are written in rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server, wait_until_it_fits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    """One of this file's own: its tests make runs or sets."""
    return start_server()


def choose(page: Page, label: str, option: str, place: int = 0) -> None:
    page.get_by_label(label, exact=True).nth(place).click()
    page.get_by_role("option", name=option, exact=True).click()


@pytest.fixture
def train(server, open_page):
    def opened(query: str = "", **options) -> Page:
        page = open_page(f"{server.url}/train{query}", **options)
        page.get_by_role("button", name="What is learned").click()
        return page

    return opened


def test_the_sums_example_starts_a_run_with_its_rule(server, train, screenshot):
    page = train()
    page.get_by_label("Sums, by reward").check()
    page.wait_for_url("**dataset.source=*sums*")
    expect(page.get_by_label("Compare", exact=True).first).to_have_value("the last number")
    expect(page.get_by_label("GRPO: answers a prompt")).to_have_value("8")
    expect(page.get_by_role("textbox", name="Pattern")).to_have_count(0)
    expect(page.get_by_label("Rule", exact=True)).to_have_count(2)
    choose(page, "Rule", "has a length", 1)
    page.get_by_label("At most", exact=True).fill("12")
    expect(page.get_by_label("Rule", exact=True)).to_have_count(3)
    screenshot(page, "train-rules")
    page.wait_for_url(re.compile(r"maximum%22%3A\+12"))
    page.reload()
    # The form fills its fields as it opens, and a busy machine draws it late.
    page.get_by_role("button", name="What is learned").click(timeout=120_000)
    expect(page.get_by_label("At most", exact=True)).to_have_value("12")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/runs**")
    (folder,) = (server.data_dir / "runs").iterdir()
    objective = json.loads((folder / "spec.json").read_text("utf-8"))["objective"]
    assert [rule["kind"] for rule in objective["rules"]] == ["equal", "length"]
    assert objective["rules"][1]["maximum"] == 12


@pytest.mark.parametrize("dark", [False, True])
def test_another_kind_shows_its_own_fields(train, screenshot, dark):
    page = train(width=390, dark=dark)
    expect(page.get_by_label("Rule", exact=True)).to_have_count(0)
    choose(page, "Objective", "GRPO")
    expect(page.get_by_label("Rule", exact=True)).to_have_count(1)
    choose(page, "Rule", "matches a pattern")
    expect(page.get_by_role("textbox", name="Pattern")).to_be_visible()
    screenshot(page, f"train-rules-390-{'dark' if dark else 'light'}")
    choose(page, "Objective", "DPO")
    expect(page.get_by_label("Rule", exact=True)).to_have_count(0)
    expect(page.get_by_label("DPO: loss")).to_be_visible()
    wait_until_it_fits(page, 390)
