"""Sweeps on the runs page: runs together, judged, what they used, and ranks proposed from it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from lora_engine.engine import Engine
from lora_engine.settings import Settings
from lora_engine.spec import spec_from, sweep_over
from tests.browser.conftest import Server

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
LONG_MS = 120_000
TRAINED_S = 240
RANKS = (2, 8, 24)
FEW_STEPS = urlencode(
    {
        "dataset": "starter:pirate",
        "dataset.eval_fraction": "0.05",
        "method.target_modules": '["q_proj", "v_proj"]',
        "optimization.max_steps": "6",
        "report.samples": "0",
    }
)
POINTS = "document.querySelector('#sweep-curves .rs-plot').data?.map(t => t.x.length) ?? []"


@dataclass(frozen=True)
class SweptServer:
    """A server with a finished sweep over `RANKS`, and one of long runs, cancelled at once."""

    url: str
    data_dir: Path
    finished: str
    cancelled: str


@pytest.fixture(scope="module")
def swept(tmp_path_factory, start_server: Callable[..., Server]) -> SweptServer:
    """The sweeps are trained before the server starts, which alone may write the list then."""
    folder = tmp_path_factory.mktemp("swept")
    engine = Engine(Settings(data_dir=folder, models_dir=folder / "models", device="cpu"))
    spec = spec_from(
        {
            "name": "pirate",
            "dataset": {"source": "starter:pirate", "eval_fraction": 0.05},
            "method": {"target_modules": ["q_proj", "v_proj"]},
            "optimization": {
                "learning_rate": 1e-2, "batch_size": 8, "max_steps": 8, "eval_every": 4,
            },
            "report": {"samples": 0},
        }
    )  # fmt: skip
    finished = engine.sweeps.submit(sweep_over(spec, ranks=RANKS))
    _wait(engine, finished.id)
    long = spec.optimization.model_copy(update={"max_steps": 20_000, "eval_every": 20_000})
    other = spec.model_copy(update={"name": "later", "optimization": long})
    cancelled = engine.sweeps.submit(sweep_over(other, ranks=(4, 16)))
    engine.sweeps.cancel(cancelled.id)
    _wait(engine, cancelled.id)
    return SweptServer(start_server(folder).url, folder, finished.id, cancelled.id)


def test_a_sweep_is_seen_whole_and_its_runs_lead_to_the_runs(
    swept: SweptServer, open_page: OpenPage, screenshot: Callable
) -> None:
    page = open_page(f"{swept.url}/runs?tab=sweeps&sweep={swept.finished}")
    expect(page.locator("#sweep-heading").get_by_role("status")).to_have_text("3 finished")
    rows = page.locator("#sweep-runs tbody tr")
    expect(rows).to_have_count(len(RANKS))
    expect(page.locator("#all-sweeps tbody tr")).to_have_count(2)
    page.wait_for_function(f"String({POINTS}) === '2,2,2'")
    expect(page.locator("#sweep-resume")).to_be_hidden()
    screenshot(page, "sweep")

    rows.first.get_by_role("link").click()
    expect(page.locator("#run-heading h2")).to_contain_text("pirate r2")
    expect(page.locator("#sweep-heading")).to_be_hidden()


def test_a_cancelled_sweep_is_resumed_and_cancelled_as_one(
    swept: SweptServer, open_page: OpenPage
) -> None:
    page = open_page(f"{swept.url}/runs")
    page.get_by_role("tab", name="Sweeps").click()
    state = page.locator("#sweep-heading").get_by_role("status")
    expect(state).to_have_text("2 cancelled")  # the newest, where none is named
    expect(page).to_have_url(f"{swept.url}/runs?tab=sweeps")
    page.locator("#sweep-resume").click()
    expect(page.locator("#sweep-cancel")).to_be_visible()
    page.locator("#sweep-cancel").click()
    expect(state).to_have_text("2 cancelled", timeout=LONG_MS)
    expect(page.locator("#sweep-cancel")).to_be_hidden()


def test_a_sweep_that_is_not_there_is_told(swept: SweptServer, open_page: OpenPage) -> None:
    page = open_page(f"{swept.url}/runs?sweep=nowhere")
    expect(page.get_by_role("alert").filter(has_text="nowhere")).to_be_visible()
    expect(page.locator("#sweep-heading h2")).to_contain_text("later")


def test_it_is_judged_its_used_ranks_are_seen_and_proposed_ranks_fill_the_form(
    swept: SweptServer, open_page: OpenPage, screenshot: Callable
) -> None:
    page = open_page(f"{swept.url}/runs?sweep={swept.finished}")
    budget = page.locator("#propose-rank input")
    expect(budget).to_have_value("12")  # half of the largest rank

    page.locator("#judge-margin").get_by_role("textbox").fill("0.5")
    page.locator("#judge").click()
    ranks = page.locator("#judged-ranks tbody tr")
    expect(ranks).to_have_count(len(RANKS), timeout=LONG_MS)
    expect(page.locator("#judge-stop")).to_be_hidden()
    recommended = page.locator("#judgement-tiles dd").first.inner_text()
    expect(page.locator("#judgement")).to_contain_text(f"ank {recommended}")
    for plot in ("judged-losses", "judged-forgetting", "pareto-0", "pareto-3"):
        expect(page.locator(f"#{plot} .main-svg").first).to_be_visible()
    wanted = recommended if int(recommended) < max(RANKS) else "12"
    expect(budget).to_have_value(wanted)

    page.locator("#used-show").click()
    expect(page.locator("#used-runs tbody tr")).to_have_count(len(RANKS), timeout=LONG_MS)
    expect(page.locator("#used-pairs tbody tr")).to_have_count(3)  # 2-8, 8-24 and 2-24
    expect(page.locator("#used-words").get_by_role("status")).to_contain_text("20 singular values")
    expect(page.locator("#used-heat .main-svg").first).to_be_visible()
    title = "document.querySelector('#used-heat .rs-plot').layout.title.text"
    page.wait_for_function(f"{title}.includes('Effective rank of pirate r24')")
    page.get_by_label("k95", exact=True).click()
    page.wait_for_function(f"{title}.startsWith('Directions with 95')")

    budget.fill("2")
    page.locator("#propose-measure").click()
    losses = page.locator("#proposed-table thead th").filter(has_text="Held-out loss")
    expect(losses).to_be_visible(timeout=LONG_MS)
    expect(page.locator("#proposed-table tbody tr")).to_have_count(3)
    expect(page.locator("#proposed-threshold .main-svg").first).to_be_visible()
    screenshot(page, "sweep-whole")

    page.get_by_role("link", name="Train with it: global threshold").click()
    page.wait_for_url(re.compile("/train"))
    expect(page.locator("#field-method-rank input").first).to_have_value("2")
    pattern = page.get_by_label("Rank by module")
    expect(pattern).to_have_value(re.compile(r'"model\.layers\.\d+\.self_attn\.[qv]_proj": \d+'))
    ranks_of = json.loads(pattern.input_value())
    assert 2 not in ranks_of.values()
    assert max(ranks_of.values()) > 2
    expect(page.locator("#field-optimization-max-steps input")).to_have_value("8")


def test_a_margin_that_is_no_number_is_told_and_a_budget_too_large(
    swept: SweptServer, open_page: OpenPage
) -> None:
    page = open_page(f"{swept.url}/runs?sweep={swept.finished}")
    expect(page.locator("#propose-rank input")).to_have_value("12")
    page.locator("#judge-margin").get_by_role("textbox").fill("much")
    page.locator("#judge").click()
    expect(page.get_by_role("alert").filter(has_text="'much'")).to_be_visible()
    page.locator("#propose-rank input").fill("24")
    page.locator("#propose").click()
    expect(page.get_by_role("alert").filter(has_text="ranks up to 24")).to_be_visible()


def test_from_advice_to_a_sweep_its_judgement_and_a_run_with_the_proposed_ranks(
    swept: SweptServer, open_page: OpenPage
) -> None:
    page = open_page(f"{swept.url}/train?{FEW_STEPS}")
    page.get_by_role("button", name="Which rank?").click()
    page.get_by_role("button", name="Advise").click()
    expect(page.locator("#advice-result .rs-tile").first).to_be_visible()
    page.get_by_role("button", name="Use this").click()
    page.get_by_role("button", name="Try several ranks").click()
    ranks, rates = (field(page, name) for name in ("sweep-ranks", "sweep-learning-rates"))
    expect(ranks).not_to_have_value("4, 8, 16, 32, 64")  # the advised range
    ranks.fill("2, 8")
    rates.fill("0.01")
    expect(page.locator("#sweep-count")).to_contain_text("2 runs")
    page.get_by_role("button", name="Start the sweep").click()

    page.wait_for_url(re.compile(r"/runs\?tab=sweeps&sweep="))
    state = page.locator("#sweep-heading").get_by_role("status")
    expect(state).to_have_text("2 finished", timeout=LONG_MS)
    page.locator("#judge").click()
    expect(page.locator("#judged-ranks tbody tr")).to_have_count(2, timeout=LONG_MS)
    page.locator("#propose-rank input").fill("4")
    page.locator("#propose").click()
    page.get_by_role("link", name="Train with it: global threshold").click()

    page.wait_for_url(re.compile("/train"))
    pattern = page.get_by_label("Rank by module")
    expect(pattern).to_have_value(re.compile("q_proj"))
    proposed = json.loads(pattern.input_value())
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url(re.compile(r"/runs\?run="))
    expect(page.locator("#run-heading h2")).to_contain_text("threshold at r4")
    status = page.locator("#run-heading").get_by_role("status")
    expect(status).to_have_text("finished", timeout=LONG_MS)
    run = parse_qs(urlsplit(page.url).query)["run"][0]
    config = swept.data_dir / "runs" / run / "adapter" / "adapter_config.json"
    assert json.loads(config.read_text("utf-8"))["rank_pattern"] == proposed


def test_a_whole_sweep_is_deleted_only_after_the_question(
    swept: SweptServer, open_page: OpenPage
) -> None:
    written = swept.data_dir / "sweeps" / swept.cancelled
    children = json.loads((written / "sweep.json").read_text("utf-8"))["runs"]
    folders = [swept.data_dir / "runs" / child["id"] for child in children]
    page = open_page(f"{swept.url}/runs?tab=sweeps&sweep={swept.cancelled}")
    question = page.locator("#delete-sweep-question").first
    listed = page.locator("#all-sweeps tbody tr").filter(has_text="later")
    expect(listed).to_have_count(1)
    page.locator("#sweep-delete").click()
    expect(question).to_contain_text("later")
    page.locator("#delete-sweep-keep").click()
    expect(question).to_be_hidden()
    assert [folder.is_dir() for folder in folders] == [True, True]

    page.locator("#sweep-delete").click()
    page.locator("#delete-sweep-sure").click()
    expect(page).to_have_url(f"{swept.url}/runs?tab=sweeps")
    expect(page.locator("#sweep-heading h2")).to_contain_text("pirate")
    expect(listed).to_have_count(0)
    assert [folder.exists() for folder in folders] == [False, False]
    assert not written.exists()


def field(page: Page, name: str) -> Locator:
    return page.locator(f"#field-{name}").locator("input, textarea").first


def _wait(engine: Engine, sweep_id: str) -> None:
    deadline = time.monotonic() + TRAINED_S
    while not engine.sweeps.get(sweep_id).is_over:
        assert time.monotonic() < deadline, "the sweep did not end in time"
        time.sleep(0.5)
        engine.runs.refresh()
