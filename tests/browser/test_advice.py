"""Advice on Train and in the Calculator: its reasons, "Use this", and a sweep started from it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from lora_engine.spec import recipe_spec
from pages import CALCULATOR, TRAIN
from tests.browser.conftest import Server

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
FEW_STEPS = "?optimization.max_steps=2&report.samples=0&optimization.max_length=64"


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    """One of this file's own: its tests make runs or sets."""
    return start_server()


def field(page: Page, name: str):
    return page.locator(f"#field-{name}").locator("input, textarea").first


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_advice_for_the_chosen_data_fills_the_form(
    server: Server, open_page: OpenPage, screenshot, width: int, dark: bool
) -> None:
    page = open_page(server.url + TRAIN.path, width=width, dark=dark)
    page.get_by_role("button", name="Which rank?").click()
    page.get_by_label("quick", exact=True).check()
    page.get_by_role("button", name="Advise").click()
    result = page.locator("#advice-result")
    expect(result).to_contain_text("training rows of starter:pirate")
    expect(result).to_contain_text("The task is a guess: answers to known questions")
    expect(result).to_contain_text("try 4 to 16")
    expect(result).to_contain_text("LoRA Learns Less and Forgets Less (arXiv 2405.09673), 2024")
    expect(result.locator(".rs-disagree").filter(has_text="Sources differ: scaling")).to_have_count(
        1
    )
    screenshot(page, f"train-advice-{width}")

    page.get_by_role("button", name="Use this").click()

    expect(field(page, "method-rank")).to_have_value("4")
    expect(field(page, "method-alpha")).to_have_value("")
    expect(field(page, "name")).to_have_value("pirate r4")
    expect(page.locator("#alpha-note")).to_contain_text("alpha 8: α/r = 2")
    page.wait_for_url(re.compile(r"method\.rank=4&.*method\.dropout=0\.05"))
    page.get_by_role("button", name="Try several ranks").click()
    expect(field(page, "sweep-ranks")).to_have_value("4, 8, 16")
    expect(page.locator("#sweep-count")).to_contain_text("3 runs: 3 ranks × 1 learning rate")
    expect(page.locator("#field-sweep-stop-worse input")).to_be_checked()
    screenshot(page, f"train-sweep-{width}")


def test_the_classic_cases_have_their_answers_and_reasons(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(server.url + TRAIN.path)
    page.get_by_role("button", name="Which rank?").click()
    cases = page.locator("#advice-cases label")
    expect(cases).to_have_text(
        [re.compile(answer) for answer in (r": 8 \(4–16\)", r": 32 \(16–64\)", r": 16 \(8–32\)")]
    )
    cases.nth(2).click()
    result = page.locator("#advice-result")
    expect(result).to_contain_text("30,000 rows, GPT-2 medium")
    expect(result.locator(".rs-tile").first).to_contain_text("16")
    expect(page.get_by_role("button", name="Use this")).to_be_hidden()


def test_a_sweep_says_how_many_runs_it_makes_and_starts_them(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(server.url + TRAIN.path + FEW_STEPS)
    page.get_by_role("button", name="Try several ranks").click()
    count = page.locator("#sweep-count")
    expect(count).to_contain_text("5 runs: 5 ranks")
    ranks, start = field(page, "sweep-ranks"), page.get_by_role("button", name="Start the sweep")
    ranks.fill("2, x")
    alert = page.locator("#field-sweep-ranks").get_by_role("alert")
    expect(alert).to_contain_text("'x'")
    ranks.fill(", ".join(map(str, range(1, 22))))
    seeds = field(page, "sweep-seeds")
    seeds.fill("0, 1, 2, 3, 4, 5, 6, 7, 8, 9")
    expect(alert).to_contain_text("210 runs")
    seeds.fill("")
    ranks.fill("")
    expect(alert).to_contain_text("nothing varies")
    assert not list((server.data_dir / "runs").iterdir())
    ranks.fill("2, 4")
    expect(count).to_contain_text("2 runs: 2 ranks")
    start.click()
    page.wait_for_url(re.compile(r"/runs\?tab=sweeps&sweep="))
    (sweep,) = (server.data_dir / "sweeps").glob("*/sweep.json")
    assert sweep.parent.name in page.url
    written = json.loads(sweep.read_text("utf-8"))
    assert [run["name"] for run in written["runs"]] == ["pirate r2", "pirate r4"]
    specs = [
        json.loads((server.data_dir / "runs" / run["id"] / "spec.json").read_text("utf-8"))
        for run in written["runs"]
    ]
    assert [spec["method"]["alpha"] for spec in specs] == [4, 8]
    assert written["spec"]["stop_worse"] is False


def test_advice_in_the_calculator_fills_its_form_and_counts_anew(
    server: Server, open_page: OpenPage, screenshot
) -> None:
    page = open_page(server.url + CALCULATOR.path)
    expect(field(page, "method-alpha")).to_have_value("")
    expect(page.locator("#alpha-note")).to_contain_text("alpha 16: α/r = 2")
    page.get_by_role("button", name="Which rank?").click()
    page.get_by_label("Kind of task").click()
    page.get_by_role("option", name="a class for each word").click()
    page.get_by_label("as good as full").check()
    page.get_by_role("button", name="Advise").click()
    result = page.locator("#advice-result")
    expect(result).to_contain_text("For 1,000 training rows, the model llama-2-7b")
    expect(result.locator(".rs-tile").first).to_contain_text("32")
    expect(
        result.locator(".rs-disagree").filter(has_text="Sources differ: model size")
    ).to_have_count(1)
    screenshot(page, "calculator-advice")

    page.get_by_role("button", name="Use this").click()

    expect(field(page, "method-rank")).to_have_value("32")
    expect(page.locator("#alpha-note")).to_contain_text("alpha 64: α/r = 2")
    expect(page.locator("#model-tiles")).to_contain_text("16,777,216")
    page.wait_for_url(re.compile("rank=32"))


def test_advice_and_sweeps_can_be_asked_for_by_programs(server: Server) -> None:
    client = Client(server.url, verbose=False)
    spec = recipe_spec("json").model_dump(mode="json")
    spec["optimization"]["max_steps"] = 1
    spec["report"]["samples"] = 0
    read = client.predict(spec=spec, goal="quick", api_name="/advise")
    assert read["guessed_task"]["task"] == "style"
    asked = client.predict(task="faq", rows=500, preset="llama-2-7b", api_name="/advise")
    assert (asked["suggested_rank"], asked["range"]) == (8, [4, 16])
    with pytest.raises(Exception, match="task"):
        client.predict(task="poems", api_name="/advise")
    sweep = client.predict(spec, [2], [1e-3, 3e-4], api_name="/sweep")
    assert [(run["rank"], run["learning_rate"]) for run in sweep["runs"]] == [(2, 1e-3), (2, 3e-4)]
    with pytest.raises(Exception, match="method.rank"):
        client.predict(spec, [0], api_name="/sweep")
