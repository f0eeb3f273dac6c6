"""The runs page in a browser: choosing, drawing together, finding, noting, pausing, deleting.

The runs that are only looked at are made by hand on the disk; one run is real, on the starter.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Locator, Page, expect

from lora_engine.engine import Engine
from lora_engine.run_folder import (
    MetricsRow,
    MetricsWriter,
    RunDirectory,
    RunResult,
    living_worker,
)
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunStore
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec, spec_from
from pages import RUNS
from tests.browser.conftest import Server, wait_until_it_fits
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
RUN_MS = 240_000
LOOKED_MS = 120_000  # a page that was answered late rests long before it looks again
TRACES = "(document.querySelector('#loss-curve .rs-plot').data?.length ?? 0)"
POINTS = "(document.querySelector('#loss-curve .rs-plot').data?.[0]?.x?.length ?? 0)"
MEMORY = POINTS.replace("loss-curve", "curve-memory_bytes")
COUNT_DRAWINGS = """() => {
    const react = Plotly.react;
    window.drawn = {};
    Plotly.react = (box, ...figure) => {
        const { id } = box.closest("#loss-curve, [id^=curve-]");
        window.drawn[id] = (window.drawn[id] ?? 0) + 1;
        return react(box, ...figure);
    };
}"""
HIDE = """() => {
    window.looked = 0;
    const hidden = { get: () => Boolean(++window.looked), configurable: true };
    Object.defineProperty(document, "hidden", hidden);
    const ask = window.fetch;
    window.fetch = (...given) => {
        if (Object.hasOwn(document, "hidden")) window.askedWhileHidden = true;
        return ask(...given);
    };
}"""
OUT_OF_SIGHT = """(id) => new Promise((resolve) => {
    const watching = new IntersectionObserver((entries) => {
        if (entries.at(-1).isIntersecting) return;
        watching.disconnect();
        resolve();
    });
    watching.observe(document.getElementById(id));
})"""
SHOW = """() => {
    delete document.hidden;
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def state(page: Page) -> Locator:
    return page.locator("#run-heading").get_by_role("status")


def rows(page: Page) -> Locator:
    return page.get_by_role("list", name="Runs").get_by_role("listitem")


def link(page: Page, name: str) -> Locator:
    return rows(page).get_by_role("link").filter(has_text=name)


def title(page: Page) -> Locator:
    return page.locator("#run-heading h2")


def add_run(data_dir: Path, run_id: str, state: RunState, **spec) -> None:
    """A run as its worker and the list would have left it."""
    directory = RunDirectory(data_dir / "runs" / run_id)
    document = spec_from({"name": run_id, **spec})
    directory.create(document)
    log_steps(directory, range(1, 31))
    store = RunStore(data_dir / "runs.db")
    store.add(run_id, document)
    store.move(run_id, [RunState.QUEUED], state)
    if state is RunState.FINISHED:
        directory.write_result(
            RunResult(
                state="finished", steps=30, train_loss=1.0, eval_loss=1.0, tokens=3000,
                tokens_per_s=50.0, peak_memory_bytes=2**30, elapsed_s=60.0,
            )
        )  # fmt: skip


def log_steps(directory: RunDirectory, steps: range) -> None:
    writer = MetricsWriter(directory.metrics_path)
    for step in steps:
        writer.write(
            MetricsRow(
                seq=0, step=step, epoch=0.1, loss=3.0 / step, learning_rate=1e-3, grad_norm=1.0,
                tokens=100 * step, tokens_per_s=50.0, elapsed_s=2.0 * step, memory_bytes=2**30,
                total_steps=30, eval_loss=1.0 if step % 10 == 0 else None,
            )
        )  # fmt: skip
    writer.close()


@pytest.fixture(scope="module")
def library(tmp_path_factory, start_server: Callable[..., Server]) -> Server:
    folder = tmp_path_factory.mktemp("library")
    add_run(folder, "first", RunState.FINISHED, method={"rank": 4})
    add_run(folder, "=1+1", RunState.INTERRUPTED)
    add_run(folder, "third", RunState.FINISHED, method={"rank": 16})
    return start_server(folder, LORA_SLURM_HOST="local")


def test_runs_are_ticked_drawn_together_found_sorted_and_kept_in_the_address(
    library: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{library.url}{RUNS.path}?run=third")
    expect(rows(page)).to_have_count(3)
    expect(page.get_by_role("checkbox", name="Draw third")).to_be_disabled()
    page.wait_for_function(f"{TRACES} === 3")

    page.get_by_role("checkbox", name="Draw first").check()
    page.wait_for_function(f"{TRACES} === 6")
    page.wait_for_url(re.compile("with=first"))
    page.get_by_role("radio", name="tokens").check()
    page.locator("#curve-memory_bytes").scroll_into_view_if_needed()
    page.wait_for_function(
        "document.querySelector('#curve-memory_bytes .rs-plot').data?.[1]?.x[29] === 3000"
    )
    page.wait_for_url(re.compile("over=tokens"))

    page.locator("#find textarea").fill("first")
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text("first")
    page.wait_for_url(re.compile("find=first"))
    page.reload()
    expect(rows(page)).to_have_count(1)
    page.wait_for_function(f"{TRACES} === 6")
    expect(page.get_by_role("checkbox", name="Draw first")).to_be_checked()

    page.locator("#find textarea").fill("")
    expect(rows(page)).to_have_count(3)
    page.get_by_role("button", name="Rank").click()
    expect(page.locator("#all-runs tbody tr").first).to_contain_text("third")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    table = list(csv.reader(Path(download.value.path()).read_text().splitlines()))
    assert sorted(line[0] for line in table[1:]) == ["'=1+1", "first", "third"]


def test_where_a_stopped_run_goes_on_is_asked_with_what_it_has(
    library: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{library.url}{RUNS.path}?run=%3D1%2B1")
    asked = page.locator("#going-on")
    expect(page.get_by_role("button", name="Resume elsewhere…")).to_be_visible()
    expect(asked).to_have_count(0)
    page.get_by_role("button", name="Resume elsewhere…").click()
    expect(page.get_by_role("radio", name="this machine")).to_be_checked()
    expect(page.get_by_label("Devices")).to_have_value("1")
    expect(page.get_by_label("Cores")).to_be_hidden()
    page.get_by_role("radio", name="Slurm").check()
    expect(page.get_by_label("Cores")).to_have_value("")
    expect(page.get_by_label("Cards")).to_have_value("0")
    page.get_by_role("button", name="Leave it stopped").click()
    expect(asked).to_have_count(0)


def test_runs_are_walked_with_arrows_and_back_returns(library: Server, open_page: OpenPage) -> None:
    page = open_page(f"{library.url}{RUNS.path}?run=third")
    expect(title(page)).to_contain_text("third")
    page.wait_for_function(f"{TRACES} > 0")
    scroll = "document.querySelector('#all-runs .rs-scroll')"
    assert page.evaluate(f"{scroll}.scrollWidth - {scroll}.clientWidth") <= 0  # nothing is cut
    link(page, "third").focus()
    page.keyboard.press("End")
    expect(link(page, "first")).to_be_focused()
    expect(title(page)).to_contain_text("first")
    page.wait_for_url(re.compile("run=first"))
    page.keyboard.press("ArrowUp")
    expect(title(page)).to_contain_text("=1+1")
    expect(link(page, "=1+1")).to_be_focused()
    expect(link(page, "=1+1")).to_have_attribute("aria-current", "true")

    page.go_back()
    expect(title(page)).to_contain_text("third")
    page.get_by_role("tab", name="Details").click()
    expect(page.locator("#run-spec")).to_contain_text("all-linear")
    page.get_by_role("tab", name="Files").click()
    expect(page.locator("#run-files tbody tr").first).to_contain_text("metrics.jsonl")


def test_what_nobody_sees_is_not_drawn_and_a_hidden_page_asks_nothing(
    library: Server, open_page: OpenPage
) -> None:
    run = RunDirectory(library.data_dir / "runs" / "third")
    page = open_page(f"{library.url}{RUNS.path}?run=third", height=500)
    page.locator("#curve-memory_bytes").scroll_into_view_if_needed()
    page.wait_for_function(f"{POINTS} === 30 && {MEMORY} === 30")
    page.locator("#loss-curve").scroll_into_view_if_needed()
    page.evaluate(OUT_OF_SIGHT, "curve-memory_bytes")
    page.evaluate(COUNT_DRAWINGS)
    log_steps(run, range(31, 32))
    page.wait_for_function(f"{POINTS} === 31", timeout=LOOKED_MS)
    drawn = page.evaluate("drawn")
    assert drawn["loss-curve"] == 1
    assert "curve-memory_bytes" not in drawn

    page.evaluate(HIDE)
    log_steps(run, range(32, 33))
    page.wait_for_function("looked >= 2", timeout=LOOKED_MS)
    assert page.evaluate("window.askedWhileHidden") is None
    page.evaluate(SHOW)
    page.wait_for_function(f"{POINTS} === 32", timeout=LOOKED_MS)
    assert page.evaluate(MEMORY) == 30
    page.locator("#curve-memory_bytes").scroll_into_view_if_needed()
    page.wait_for_function(f"{MEMORY} === 32")
    assert page.evaluate("drawn['curve-memory_bytes']") == 1


def test_on_a_phone_the_list_and_the_run_take_turns(library: Server, open_page: OpenPage) -> None:
    page = open_page(f"{library.url}{RUNS.path}", width=390)
    expect(title(page)).to_be_hidden()
    link(page, "first").click()
    expect(title(page)).to_contain_text("first")
    expect(rows(page).first).to_be_hidden()
    wait_until_it_fits(page, 390)
    page.get_by_role("link", name="All runs").click()
    expect(rows(page)).to_have_count(3)
    expect(title(page)).to_be_hidden()


def test_a_note_is_kept_as_text_and_found(library: Server, open_page: OpenPage) -> None:
    page = open_page(f"{library.url}{RUNS.path}?run=first")
    expect(state(page)).to_have_text("finished")
    page.get_by_role("tab", name="Details").click()
    page.get_by_label("Note", exact=True).fill("<b onclick=alert(1)>bold</b>")
    page.locator("#tags").get_by_role("textbox").fill("good, =2+2")
    page.get_by_role("button", name="Keep note and tags").click()
    expect(page.locator(".rs-run-note")).to_have_text("<b onclick=alert(1)>bold</b>")
    expect(page.locator(".rs-tag")).to_have_text(["good", "=2+2"])
    page.locator("#find textarea").fill("GOOD")
    expect(rows(page)).to_have_count(1)

    page.locator("#tags").get_by_role("textbox").fill("x" * 41)
    page.get_by_role("button", name="Keep note and tags").click()
    expect(page.get_by_role("alert").filter(has_text="tags")).to_be_visible()


def test_a_run_is_deleted_only_after_the_question(library: Server, open_page: OpenPage) -> None:
    page = open_page(f"{library.url}{RUNS.path}?run==1%2B1")
    expect(state(page)).to_have_text("interrupted")
    delete = page.get_by_role("button", name="Delete…")
    sure = page.get_by_role("button", name="Delete for good")
    delete.click()
    expect(page.locator("#delete-question").first).to_contain_text("=1+1")
    page.get_by_role("button", name="Keep it").click()
    expect(sure).to_be_hidden()
    expect(rows(page)).to_have_count(3)

    delete.click()
    sure.click()
    expect(rows(page)).to_have_count(2)
    expect(title(page)).to_contain_text("third")
    page.wait_for_url(re.compile("run=third"))
    assert not (library.data_dir / "runs" / "=1+1").exists()


def test_the_address_names_the_run_that_is_shown_when_its_own_is_gone(
    start_server: Callable[..., Server], open_page: OpenPage, tmp_path: Path
) -> None:
    for run_id in ("old", "new"):
        add_run(tmp_path, run_id, RunState.FINISHED)
    server = start_server(tmp_path)
    page = open_page(f"{server.url}{RUNS.path}?run=old&over=tokens")
    expect(title(page)).to_contain_text("old")
    Engine(Settings(data_dir=tmp_path, device="cpu")).runs.delete("old")
    expect(title(page)).to_contain_text("new", timeout=LOOKED_MS)
    page.wait_for_url(re.compile(r"run=new&over=tokens"))

    page = open_page(f"{server.url}{RUNS.path}?run=never")
    page.wait_for_url(re.compile("run=new"))
    page = open_page(f"{server.url}{RUNS.path}")
    expect(rows(page)).to_have_count(1)
    page.wait_for_timeout(1500)  # longer than the page looks again
    assert page.url.endswith(RUNS.path)  # goes on meaning the newest


def suspended_after(directory: RunDirectory, step: int) -> psutil.Process:
    """The run's worker once it has made this step: it cannot finish before it is asked to stop."""

    def is_there() -> bool:
        newest = directory.last_metrics()
        return newest is not None and newest.step >= step

    wait_until(is_there, RUN_MS / 1000)
    worker = living_worker(directory)
    assert worker is not None, directory.log_tail()
    process = psutil.Process(worker.pid)
    process.suspend()
    return process


def test_paused_resumed_and_finished_on_the_starter(
    start_server: Callable[..., Server], open_page: OpenPage, tmp_path: Path
) -> None:
    server = start_server()
    spec = RunSpec.model_validate(
        {"name": "paused", "optimization": {"max_steps": 60, "batch_size": 4, "eval_every": 1000}}
    )
    from gradio_client import Client

    client = Client(server.url, verbose=False)
    run_id = client.predict(spec.model_dump(mode="json"), api_name="/submit")["id"]
    page = open_page(f"{server.url}{RUNS.path}?run={run_id}")
    worker = suspended_after(RunDirectory(server.data_dir / "runs" / run_id), step=3)
    page.wait_for_function(f"{POINTS} >= 3", timeout=RUN_MS)
    page.get_by_role("button", name="Pause").click()
    expect(state(page)).not_to_have_text("running")
    worker.resume()
    expect(state(page)).to_have_text("paused", timeout=LOOKED_MS)
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()

    page.get_by_role("button", name="Resume").click()
    expect(state(page)).to_have_text(re.compile("running|finished"))
    expect(state(page)).to_have_text("finished", timeout=RUN_MS)
    page.wait_for_function(f"{POINTS} === 60")
    expect(page.locator("#run-now dd").last).not_to_be_empty()
    page.get_by_role("tab", name="Evaluation").click()
    expect(page.locator("#run-samples tr").last).to_contain_text("step 60")
    page.get_by_role("tab", name="Details").click()
    expect(page.locator("#run-command textarea")).to_have_value(
        re.compile("lora_engine train .*spec.json")
    )
    page.get_by_role("link", name="Train again with changes").click()
    page.wait_for_url(re.compile(f"/train\\?from={run_id}"))
    expect(page.locator("#field-name textarea")).to_have_value("paused")
