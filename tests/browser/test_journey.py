"""The whole journey as a person makes it: open, train the pirate, watch, compare.

Around it, what a person may do meanwhile: reload, kill the server, get the form wrong.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from lora_engine.starter.checks import is_pirate
from pages import COMPARE, RUNS, TRAIN
from tests.browser.asking import ask, finished
from tests.browser.conftest import Server

OpenPage = Callable[..., Page]
RUN_MS = 240_000  # a minute's run, with room for a busy machine
CURVE_POINTS = "document.querySelector('#loss-curve .rs-plot').data?.[0]?.x?.length ?? 0"


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    return start_server()


def state(page: Page) -> Locator:
    return page.locator("#run-heading").get_by_role("status")


def last_answer(page: Page, column: int) -> Locator:
    return page.locator(f"#column-{column}").get_by_test_id("bot").last


def test_open_train_watch_compare(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    page.get_by_role("link", name=TRAIN.title, exact=True).click()
    expect(page.get_by_label("Dataset", exact=False).first).to_be_visible()
    expect(page.locator("#rows mark").first).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Start training").click()

    page.wait_for_url(re.compile(r"/runs\?run="))
    expect(state(page)).to_have_text(re.compile("queued|running"))
    page.wait_for_function(f"{CURVE_POINTS} >= 3", timeout=RUN_MS)
    seen = page.evaluate(CURVE_POINTS)
    page.wait_for_function(f"{CURVE_POINTS} > {seen}", timeout=RUN_MS)
    expect(page.locator("#run-facts")).to_contain_text("Tokens a second")

    page.reload()  # the address holds the run, so nothing is lost
    expect(state(page)).to_have_text(re.compile("running|finished"))
    expect(state(page)).to_have_text("finished", timeout=RUN_MS)

    page.get_by_role("link", name="Compare with the base").click()
    page.wait_for_url(re.compile(r"/compare\?adapter="))
    expect(page.locator("#column-1")).to_be_visible()
    ask(page, "What colour is the sky?")
    finished(page)
    expect(last_answer(page, 1)).to_contain_text("blue")
    base, adapted = last_answer(page, 0).inner_text(), last_answer(page, 1).inner_text()
    assert base != adapted
    assert is_pirate(adapted), adapted
    assert not is_pirate(base), base


@pytest.fixture
def slow_spec() -> dict:
    """A run that goes on until it is cancelled, however busy the machine."""
    return {
        "name": "slow <img src=x onerror=alert(1)>",
        "optimization": {"max_steps": 20_000, "batch_size": 2, "eval_every": 1000},
    }


def test_a_run_outlives_the_server_and_a_zoom_the_update(
    start_server: Callable[..., Server], open_page: OpenPage, slow_spec: dict
) -> None:
    first = start_server()
    run_id = submit(first, slow_spec)
    page = open_page(f"{first.url}{RUNS.path}?run={run_id}")
    page.wait_for_function(f"{CURVE_POINTS} >= 3", timeout=RUN_MS)
    expect(page.locator("#run-heading h2")).to_contain_text("onerror=alert(1)")

    page.evaluate("Plotly.relayout(document.querySelector('#loss-curve .rs-plot'), "
                  "{'xaxis.range': [1, 2]})")  # fmt: skip
    seen = page.evaluate(CURVE_POINTS)
    page.wait_for_function(f"{CURVE_POINTS} > {seen}")
    shown_range = page.evaluate("document.querySelector('#loss-curve .rs-plot').layout.xaxis.range")
    assert shown_range == [1, 2]
    page.close()

    first.process.kill()
    first.process.wait()
    time.sleep(1.0)
    second = start_server(first.data_dir)
    page = open_page(f"{second.url}{RUNS.path}?run={run_id}")
    expect(state(page)).to_have_text("running")
    page.wait_for_function(f"{CURVE_POINTS} > {seen + 3}", timeout=RUN_MS)

    page.get_by_role("button", name="Cancel").click()
    expect(state(page)).to_have_text("cancelled", timeout=60_000)
    expect(page.get_by_role("button", name="Resume")).to_be_visible()


def test_a_form_filled_in_wrong_says_so_and_starts_nothing(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(server.url + TRAIN.path)
    expect(page.locator("#rows mark").first).to_be_visible(timeout=60_000)
    before = len(runs(server))
    page.get_by_label("Learning rate", exact=True).fill("10")
    page.get_by_label("Epochs").fill("0")
    page.get_by_role("button", name="Start training").click()
    for label, given in (("Learning rate", "got 10"), ("Epochs", "got 0")):
        expect(page.get_by_label(label, exact=True)).to_have_attribute("aria-invalid", "true")
        expect(page.get_by_role("alert").filter(has_text=given)).to_be_visible()
    assert len(runs(server)) == before


def test_an_empty_question_is_refused_kindly(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url + COMPARE.path)
    expect(page.locator("#suggestion-0")).to_be_visible()
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_role("alert").first).to_contain_text("question is empty")


def submit(server: Server, spec: dict) -> str:
    from gradio_client import Client

    client = Client(server.url, verbose=False)
    return client.predict(spec, api_name="/submit")["id"]


def runs(server: Server) -> list[dict]:
    from gradio_client import Client

    listed = Client(server.url, verbose=False).predict(api_name="/runs")
    return listed if isinstance(listed, list) else json.loads(listed)
