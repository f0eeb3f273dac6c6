"""The train page: methods as cards, the figures at the side, what is changed, sharing a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import wait_until_it_fits
from tests.browser.late_answers import SETTLED_MS, held_questions

pytestmark = pytest.mark.slow

START = "gradio_config.components.find(({ props }) => props.elem_id === 'start').id"
COUNTING_MS = 120_000  # the first count loads torch, transformers and PEFT
FIGURES = re.compile(r"688 rows · 258 steps · about .+ · 0\.\d\d GiB of \d+")


@pytest.fixture
def train(server, open_page):
    def opened(query: str = "", **options) -> Page:
        return open_page(f"{server.url}/train{query}", **options)

    return opened


def test_start_pressed_before_the_form_is_filled_waits_for_it(server, train):
    page = train()
    with held_questions(page) as held:
        page.goto(f"{server.url}/train", wait_until="commit")
        start = page.get_by_role("button", name="Start training")
        expect(start).to_have_css("cursor", "progress")
        held.wait_for(1)  # the page's opening, whose answer fills the form
        start.click()
        page.wait_for_timeout(SETTLED_MS)
        assert page.evaluate(START) not in held.triggers
        page.goto("about:blank")  # or the run would start


def test_a_method_is_chosen_by_key_and_its_figures_follow(train, screenshot):
    page = train()
    line, cards = page.locator("#run-line"), page.get_by_role("radiogroup", name="Method")
    expect(line).to_have_text(FIGURES, timeout=COUNTING_MS)
    lora = cards.get_by_role("radio", name="LoRA Two thin")
    expect(lora).to_be_checked()
    expect(lora).to_have_accessible_name(re.compile(r"0\.\d\d GiB about .+ trains 163,840"))

    lora.press("ArrowRight")
    expect(cards.get_by_role("radio", name="QLoRA")).to_be_checked()
    page.get_by_role("button", name="Quantization").click()
    expect(page.get_by_label("Bits", exact=True)).to_have_value("4 bit")
    page.keyboard.press("Escape")
    full = cards.get_by_role("radio", name="Full fine-tuning")
    full.check()
    expect(page.get_by_label("Bits", exact=True)).to_have_value("none")
    expect(page.get_by_label("Learning rate", exact=True)).not_to_have_value("0.001")
    page.wait_for_url(re.compile("finetuning_type=%22full"))
    screenshot(page, "train-methods")

    page.reload()

    expect(full).to_be_checked()
    page.get_by_text("More methods").click()
    cards.get_by_role("radio", name="VeRA").check()
    expect(page.get_by_label("VeRA: start of d")).to_be_visible()


def test_a_changed_value_is_marked_counted_and_set_back(train):
    page = train("?optimization.batch_size=16")
    heading = page.get_by_role("button", name="Training steps")
    expect(heading).to_have_accessible_name(re.compile("1 changed"))
    heading.click()
    batch = page.locator("#field-optimization-batch-size")
    expect(batch).to_contain_text("The default is 8.")
    page.get_by_label("Batch size").fill("4")
    expect(page.locator("#run-line")).to_contain_text("516 steps")

    batch.get_by_role("button", name="Back to it").click()

    expect(page.get_by_label("Batch size")).to_have_value("8")
    expect(page.locator("#run-line")).to_contain_text("258 steps")
    expect(heading).not_to_have_accessible_name(re.compile("changed"))
    page.wait_for_function("!location.search.includes('batch_size')")


def test_a_run_is_shared_as_a_file_and_as_a_link(train, tmp_path: Path):
    page = train("?rank=4")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    expect(page.locator("#field-method-rank input")).to_have_value("4")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download spec").click()
    assert download.value.suggested_filename == "pirate-r8.json"
    spec = json.loads(Path(download.value.path()).read_text("utf-8"))
    assert spec["method"]["rank"] == 4
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("status").filter(has_text="copied")).to_be_visible()
    assert "method.rank=4" in page.evaluate("navigator.clipboard.readText()")


def test_a_problem_in_a_closed_section_opens_it_and_comes_into_view(train):
    page = train("?optimization.optimizer=paged_adamw")  # wants a GPU, which there is none here
    optimizer = page.locator("#field-optimization-optimizer")
    expect(optimizer).to_contain_text("The default is")
    expect(optimizer).to_be_hidden()
    page.get_by_role("button", name="Start training").click()
    expect(optimizer.get_by_role("alert")).to_contain_text("GPU")
    expect(optimizer).to_be_in_viewport()


def test_a_dropped_spec_fills_the_form_and_all_that_is_wrong_in_it_is_told_at_its_field(train):
    page = train()
    spec = {"name": "dropped", "method": {"rank": 0}, "optimization": {"epochs": 2, "seed": 1}}
    page.evaluate(
        """(text) => {
            const held = new DataTransfer();
            held.items.add(new File([text], "spec.json", { type: "application/json" }));
            for (const type of ["dragenter", "drop"]) {
                const options = { dataTransfer: held, bubbles: true, cancelable: true };
                document.body.dispatchEvent(new DragEvent(type, options));
            }
        }""",
        json.dumps(spec),
    )
    expect(page.locator("#field-name").locator("input, textarea")).to_have_value("dropped")
    expect(page.get_by_label("Epochs")).to_have_value("2")
    expect(page.locator("#field-method-rank")).to_contain_text("greater than or equal to 1")
    expect(page.get_by_role("alert").filter(has_text="optimization.seed")).to_be_visible()
    page.wait_for_url(re.compile("name=%22dropped"))


def test_a_phone_has_the_figures_in_a_line_above_start(train):
    page = train(width=390, height=844)
    expect(page.locator("#run-line")).to_have_text(FIGURES, timeout=COUNTING_MS)
    page.get_by_role("button", name="How this works").scroll_into_view_if_needed()
    expect(page.locator("#run-line")).to_be_in_viewport()
    expect(page.get_by_role("button", name="Start training")).to_be_in_viewport()
    wait_until_it_fits(page, 390)
