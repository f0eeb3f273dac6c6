"""A classifier tried out in the browser: spans and bars, a set scored, its files."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lora_engine.settings import Settings
from pages import COMPARE
from tests.browser.conftest import Server
from tests.tiny_classifier import save_tiny_bert, write_tagged, write_texts
from tests.training_runs import tiny_spec, train_here

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
STEPS = {"batch_size": 8, "max_steps": 60, "learning_rate": 0.01, "eval_every": 60}


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    data = tmp_path_factory.mktemp("data")
    settings = Settings(data_dir=data, models_dir=data / "models")
    save_tiny_bert(settings.models_dir / "tiny-bert")
    for name, write, task in (
        ("tags", write_tagged, "token_classification"),
        ("kinds", write_texts, "sequence_classification"),
    ):
        rows = write(data / f"{name}.jsonl")
        spec = tiny_spec("tiny-bert", rows, task=task, optimization=STEPS)
        directory, _ = train_here(spec, data / "trained" / name, settings)
        shutil.copytree(directory.adapter_path, data / "adapters" / name)
    return start_server(data)


def test_spans_of_a_text_and_a_set_scored(
    server: Server, open_page: OpenPage, tmp_path: Path, screenshot: Callable[[Page, str], Path]
) -> None:
    adapter = server.data_dir / "adapters" / "tags"
    page = open_page(f"{server.url}{COMPARE.path}?adapter={adapter}")
    section = page.locator("#classify")
    texts = section.get_by_label("Texts")
    expect(texts).to_be_visible()
    expect(section.get_by_label("Classifier")).to_have_value("tags (tiny-bert)", timeout=30_000)
    texts.fill("the old fox, near a rose\none oak")
    section.get_by_role("button", name="Classify").click()
    predicted = page.locator("#classify-predicted")
    expect(predicted).to_contain_text("untrained head")
    adapted = predicted.get_by_role("group", name="With the adapter").first
    expect(adapted.locator("mark")).to_have_count(2)
    expect(adapted.locator("mark").first).to_contain_text("fox")
    expect(adapted.locator("mark small").first).to_contain_text("ANIMAL")

    section.get_by_role("button", name="Score the set").click()
    summary = page.locator("#classify-summary")
    expect(summary).to_contain_text("of entities", timeout=60_000)
    expect(page.locator("#classify-classes").get_by_role("row")).to_have_count(3)
    matrix = section.get_by_role("group", name="Confusion matrix: With the adapter")
    expect(matrix.get_by_role("row")).to_have_count(4)
    screenshot(page, "classifier-spans")
    with page.expect_download() as taken:
        section.get_by_role("button", name="Download JSON").click()
    document = json.loads(Path(taken.value.path()).read_text("utf-8"))
    assert document["columns"][1]["f1"] > document["columns"][0]["f1"]
    with page.expect_download() as table:
        section.locator("#classify-csv").click()
    with Path(table.value.path()).open(encoding="utf-8", newline="") as file:
        assert {"true", "base", "adapter"} <= set(next(csv.DictReader(file)))


def test_bars_of_classes_and_what_is_refused(
    server: Server, open_page: OpenPage, screenshot: Callable[[Page, str], Path]
) -> None:
    adapter = server.data_dir / "adapters" / "kinds"
    page = open_page(f"{server.url}{COMPARE.path}?adapter={adapter}")
    section = page.locator("#classify")
    expect(section.get_by_label("Classifier")).to_have_value("kinds (tiny-bert)", timeout=30_000)
    classify = section.get_by_role("button", name="Classify")
    classify.click()
    expect(section.get_by_role("alert").first).to_contain_text("no text to classify")
    section.get_by_label("Texts").fill("the old fox sees a")
    classify.click()
    adapted = page.locator("#classify-predicted").get_by_role("group", name="With the adapter")
    expect(adapted.locator("dt").first).to_have_text("animal")
    expect(adapted.locator("dd").nth(1)).to_contain_text("%")
    screenshot(page, "classifier-bars")


def test_without_an_address_the_section_is_there_and_closed(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(server.url + COMPARE.path)
    expect(page.get_by_role("tab", name="Classifier")).to_be_visible()
    expect(page.locator("#classify").get_by_label("Texts")).not_to_be_visible()
