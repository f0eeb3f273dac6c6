"""Signing in, in a real browser: wrong, right, what a role refuses, and the way out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from lora_engine.access import add_person
from tests.browser.conftest import ANSWER_MS, Server, wait_until_it_fits
from tests.browser.test_accessibility import AXE, RUN_AXE, SERIOUS

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def guarded(start_server: Callable[..., Server], tmp_path_factory) -> Server:
    """A server with a login, for Anna who runs and Ben who looks."""
    people = tmp_path_factory.mktemp("people") / "people"
    add_person(people, "anna", "run", PASSWORD)
    add_person(people, "ben", "see", PASSWORD)
    return start_server(LORA_PASSWORD_FILE=str(people))


def _sign_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


@pytest.fixture
def window(browser: Browser):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(ANSWER_MS)
    yield page
    page.close()


def test_signing_in_leads_to_the_page_that_was_asked_for_and_out_again(
    guarded: Server, window: Page
) -> None:
    window.goto(f"{guarded.url}/runs?run=none")
    _sign_in(window, "anna", "wrong password")
    expect(window.get_by_role("alert")).to_be_visible()
    expect(window.get_by_label("Name")).to_have_value("anna")
    _sign_in(window, "anna", PASSWORD)
    expect(window).to_have_url(f"{guarded.url}/runs?run=none")
    expect(window.locator(".rs-person span")).to_have_text("anna")

    window.get_by_role("button", name="Sign out").click()
    expect(window.get_by_label("Password")).to_be_visible()
    window.goto(f"{guarded.url}/runs")
    expect(window.get_by_label("Password")).to_be_visible()


def test_who_may_only_look_is_told_so_and_starts_nothing(guarded: Server, window: Page) -> None:
    window.goto(f"{guarded.url}/runs")
    _sign_in(window, "ben", PASSWORD)
    window.get_by_role("button", name="Start the example").click()
    expect(window.get_by_role("alert").filter(has_text="ben")).to_contain_text("run")
    assert not any((guarded.data_dir / "runs").iterdir())
    assert '"start refused"' in (guarded.data_dir / "audit.jsonl").read_text()


@pytest.mark.parametrize(
    ("prefix", "dark", "width"), [("", False, 1280), ("/zh", True, 390)], ids=["en", "zh"]
)
def test_axe_finds_nothing_serious_where_one_signs_in(
    guarded: Server, browser: Browser, prefix: str, dark: bool, width: int
) -> None:
    scheme = "dark" if dark else "light"
    page = browser.new_page(viewport={"width": width, "height": 700}, color_scheme=scheme)
    page.goto(f"{guarded.url}{prefix}/sign-in")
    page.evaluate(AXE.read_text("utf-8"))
    violations = page.evaluate(RUN_AXE, "[data-none]")
    assert [one for one in violations if one["impact"] in SERIOUS] == []
    wait_until_it_fits(page, width)
    page.close()
