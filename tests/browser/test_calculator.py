"""The calculator page in a real browser: the worked example, any model, and what is taken along."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server

OpenPage = Callable[..., Page]
COUNTING_MS = 120_000  # the first count loads torch, transformers and PEFT
TINY = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}


def spec_of(page: Page) -> dict:
    return json.loads(page.locator("#run-spec textarea").input_value())


def wait_for_count(page: Page) -> None:
    expect(page.locator("#methods tbody tr")).to_have_count(9, timeout=COUNTING_MS)


def test_the_worked_example_starts_at_the_base_and_learns(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(server.url)
    words = page.locator("#example .rs-words")

    page.locator("button#example-zero").click()
    expect(words).to_contain_text("training starts at the base model")
    page.locator("button#example-steps").click()
    expect(words).to_contain_text("After 10 steps the loss fell")
    expect(page.locator("#example .rs-losses polyline")).to_be_visible()
    page.locator('[data-key="B-0-0"]').fill("3")
    page.keyboard.press("Tab")
    expect(page.locator('[data-key="B-0-0"]')).to_have_value("3")
    expect(page.locator("#example .rs-losses")).to_have_count(0)
    assert page.evaluate("document.activeElement.dataset.key") == "B-0-1"


def test_a_cell_that_is_no_number_says_so(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    cell = page.get_by_label("B, row 1, column 1")
    cell.fill("abc")
    page.keyboard.press("Tab")
    expect(page.locator("#example .rs-words")).to_contain_text("“abc” in B, row 1, column 1")
    expect(cell).to_have_attribute("aria-invalid", "true")
    cell.fill("2,5")
    page.keyboard.press("Tab")
    expect(cell).to_have_value("2.5")
    expect(page.locator("#example .rs-words")).not_to_contain_text("abc")


def test_ticks_and_shortcuts_follow_each_other(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    wait_for_count(page)
    ticked = page.locator("#model-ticks input[type=checkbox][name]:checked")

    page.locator("#model-ticks label", has_text="k_proj").click()

    targets = page.locator("#field-method-target-modules input")
    expect(targets).to_have_value("q_proj,v_proj,k_proj", timeout=COUNTING_MS)
    expect(page).to_have_url(re.compile("targets=q_proj%2Cv_proj%2Ck_proj"))
    assert spec_of(page)["method"]["target_modules"] == ["q_proj", "v_proj", "k_proj"]
    assert ticked.count() in (0, 3)


def test_an_uploaded_config_is_counted(server: Server, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(server.url)
    wait_for_count(page)
    (tmp_path / "config.json").write_text(json.dumps(TINY))

    page.locator("input[type=file]").first.set_input_files(tmp_path / "config.json")

    note = page.locator("#train-this")
    expect(note).to_contain_text("A config alone has no weights", timeout=COUNTING_MS)
    expect(page.locator("#layers td")).to_have_count(2 * 4)


def test_train_this_opens_train_filled_in(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"{server.url}/?preset=starter&targets=q_proj,v_proj&rank=4")
    wait_for_count(page)

    page.get_by_role("link", name="Train this").click()

    page.get_by_role("button", name="The adapter").click()
    expect(page.get_by_label("Target modules")).to_have_value("q_proj, v_proj")
    expect(page.locator("#field-method-rank input[type=number]")).to_have_value("4")


PARTS = """(meter) => {
    const fill = meter.firstElementChild;
    const [whole, part] = [meter.getBoundingClientRect(), fill.getBoundingClientRect()];
    const colours = [meter, fill].map((node) => getComputedStyle(node).backgroundColor);
    return { width: whole.width, filled: part.width, height: part.height, colours };
}"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_bars_are_as_long_as_their_numbers(
    dark: bool, width: int, server: Server, open_page: OpenPage
) -> None:
    # r (d + k) = 512 · 3072 of the 1024 · 2048 numbers of the whole matrix
    page = open_page(f"{server.url}/?d=1024&k=2048&r=512", width=width, dark=dark)
    drawn = {}
    for name, share in (("whole matrix", 1.0), ("low rank", 0.75)):
        bar = page.locator("#matrix").get_by_role("meter", name=name)
        expect(bar).to_have_attribute("aria-valuenow", str(round(share * 1024 * 2048)))
        drawn[name] = bar.evaluate(PARTS)
        assert drawn[name]["width"] > 100
        assert drawn[name]["height"] > 10
        assert drawn[name]["filled"] == pytest.approx(share * drawn[name]["width"], abs=1)
        track, fill = drawn[name]["colours"]
        assert fill not in (track, "rgba(0, 0, 0, 0)")
    assert drawn["whole matrix"]["colours"][1] != drawn["low rank"]["colours"][1]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_a_phone(
    dark: bool, server: Server, open_page: OpenPage, screenshot: Callable
) -> None:
    for width in (1280, 390):
        page = open_page(server.url, width=width, dark=dark)
        wait_for_count(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        screenshot(page, f"calculator-{'dark' if dark else 'light'}-{width}")
