"""The same task by every method, in the browser: a finished group, and one click for a new one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lora_engine.engine import Engine
from lora_engine.measured_methods import task_spec
from lora_engine.run_folder import RunDirectory, RunProblem, RunResult
from lora_engine.runs import RunState, supervisor
from lora_engine.runs.store import RunStore
from lora_engine.settings import Settings
from tests.browser.conftest import Server

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
COUNTING_MS = 120_000  # the first count loads torch, transformers and PEFT
RESULT = RunResult(
    state="finished",
    steps=5,
    train_loss=2.0,
    eval_loss=1.25,
    tokens=500,
    tokens_per_s=100.0,
    peak_memory_bytes=500 * 2**20,
    elapsed_s=5.0,
    trained_parameters=5120,
)


@pytest.fixture(scope="module")
def group(tmp_path_factory) -> tuple[Path, str]:
    """A data folder with a finished group of two methods, one of which failed; and its id."""
    folder = tmp_path_factory.mktemp("methods")
    settings = Settings(data_dir=folder, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervisor.Supervisor, "_start_waiting", lambda self: None)
        engine = Engine(settings)
        report = engine.methods.submit(
            task_spec("starter", "starter:pirate", 5), ("lora", "prompt")
        )
    failed, finished = report.rows
    store = RunStore(settings.database_path)
    problem = RunProblem(problem="The loss was not finite.", remedy="Lower the rate.")
    ends = {
        failed.run: (RunResult.failed(problem), RunState.FAILED),
        finished.run: (RESULT, RunState.FINISHED),
    }
    for run, (result, state) in ends.items():
        store.claim([run], "cpu")
        RunDirectory(settings.runs_dir / run).write_result(result)
        store.move(run, [RunState.RUNNING], state)
    return folder, report.id


@pytest.fixture(scope="module")
def server(start_server, group) -> Server:
    return start_server(group[0])


def rows(page: Page):
    return page.locator("#measured-methods tbody tr")


def test_a_group_in_the_address_is_shown_and_its_base_is_timed(
    server: Server, open_page: OpenPage, group
) -> None:
    page = open_page(f"{server.url}/?methods={group[1]}")
    expect(rows(page)).to_have_count(2, timeout=COUNTING_MS)
    expect(rows(page).nth(0)).to_contain_text("The loss was not finite. Lower the rate.")
    prompt = rows(page).nth(1)
    expect(prompt.get_by_role("link", name="prompt tuning")).to_be_visible()
    for text in ("5,120", "500", "1.25", "finished"):
        expect(prompt).to_contain_text(text)
    expect(page.locator("#methods-heading")).to_contain_text("1 of 2 done")
    expect(page.locator("#methods-heading")).to_contain_text("answers in", timeout=COUNTING_MS)


def test_one_click_queues_a_run_for_every_method(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    page.get_by_label("Steps", exact=True).fill("1")
    page.get_by_role("button", name="Train every method").click()
    expect(rows(page)).to_have_count(12, timeout=COUNTING_MS)
    expect(page.locator("#methods-heading")).to_contain_text("of 12 done")
    page.wait_for_url("**/?*methods=*")
    page.locator("#methods-heading").get_by_role("link", name="The runs’ curves").click()
    page.get_by_role("button", name="Cancel all").click()
    delete = page.get_by_role("button", name="Delete the sweep…")
    expect(delete).to_be_visible(timeout=COUNTING_MS)  # a worker that still starts ends after that


def test_what_cannot_be_trained_is_said(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    page.get_by_label("Data", exact=True).fill("nothing-here.jsonl")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Train every method").click()
    expect(page.get_by_role("alert").filter(has_text="nothing-here.jsonl")).to_be_visible()
