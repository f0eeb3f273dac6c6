"""Data on the train page: upload a file, name its columns, see its rows, delete it again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Page, expect

from pages import CALCULATOR, TRAIN
from tests.browser.conftest import Server
from tests.browser.late_answers import held_questions

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    """One of this file's own: its tests make runs or sets."""
    return start_server()


@pytest.fixture
def faq(tmp_path: Path) -> Path:
    """A table in nobody's format, with a row that is there twice and an answer too long."""
    path = tmp_path / "my faq.csv"
    rows = ["Frage,Antwort", "What is a wolf?,A howler", "What is a wolf?,A howler"]
    path.write_text("\n".join([*rows, "Why?," + "because " * 600, "<b>Bold?</b>,Yes"]), "utf-8")
    return path


def test_alpha_and_name_follow_the_rank_until_alpha_is_set_and_a_reload_keeps_all(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(server.url + TRAIN.path)
    scaling = page.locator("#alpha-note")
    expect(scaling).to_contain_text("alpha 16: α/r = 2")
    rank, alpha, name = (
        page.locator(f"#field-{field}").locator("input, textarea")
        for field in ("method-rank", "method-alpha", "name")
    )
    rank.fill("64")
    expect(alpha).to_have_value("")
    expect(scaling).to_contain_text("alpha 128: α/r = 2; α/√r with rsLoRA = 16")
    expect(name).to_have_value("pirate r64")
    alpha.fill("16")
    expect(scaling).to_contain_text("below 0.5")
    alpha.fill("32")
    expect(scaling).to_contain_text("α/r = 0.5;")
    rank.fill("4")
    expect(scaling).to_contain_text("above 4")
    expect(name).to_have_value("pirate r4")
    expect(alpha).to_have_value("32")
    page.wait_for_url(re.compile(r"method\.rank=4&method\.alpha=32"))

    page.reload()

    expect(rank).to_have_value("4")
    expect(name).to_have_value("pirate r4")
    expect(alpha).to_have_value("32")


def test_late_rows_of_an_earlier_dataset_are_dropped(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url + TRAIN.path)
    expect(page.locator("#rows mark").first).to_be_visible()
    with held_questions(page) as held:
        page.get_by_role("button", name="Show again").click()  # asks for pirate's rows
        held.wait_for(1)
        held.let_new_ones_pass()
        page.get_by_label("A made-up world").check()
        expect(page.locator("#field-name input, #field-name textarea")).to_have_value("facts r8")
        held.release()
        expect(page.locator("#rows")).to_contain_text("360 rows in the format")


def test_rows_of_a_refused_dataset_are_not_shown(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url + TRAIN.path)
    expect(page.locator("#rows mark").first).to_be_visible()
    source = page.locator("#field-dataset-source input")
    source.fill("/no/such/file.jsonl")
    source.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="/no/such/file.jsonl")).to_be_visible()
    expect(page.locator("#rows mark")).to_have_count(0)


def test_upload_name_the_columns_see_the_rows_delete(
    server: Server, open_page: OpenPage, faq: Path, screenshot
) -> None:
    page = open_page(server.url + TRAIN.path)
    expect(page.locator("#rows mark").first).to_be_visible()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a dataset").click()
    chooser.value.set_files(faq)
    alert = page.get_by_role("alert").filter(has_text="fits no known format")
    expect(alert).to_contain_text("Frage, Antwort")
    name = page.locator("#field-name").locator("input, textarea")
    expect(name).to_have_value(re.compile("^my.faq$"))
    expect(page.get_by_label("Pirate speech")).not_to_be_checked()

    page.get_by_role("button", name="Columns and format").click()
    page.get_by_label("Prompt column").click()
    expect(page.get_by_role("option")).to_have_text([re.compile("Frage"), re.compile("Antwort")])
    page.get_by_role("option", name="Frage").click()
    expect(page.get_by_role("option")).to_have_count(0)
    page.get_by_label("Answer column").click()
    page.get_by_role("option", name="Antwort").click()
    rows = page.locator("#rows")
    expect(rows).to_contain_text("4 rows in the format prompt_completion")
    expect(rows).to_contain_text("25 % of rows lose a part to truncation at 512 tokens")
    expect(rows).to_contain_text("The same as an earlier row: 1 row (2)")
    expect(rows.locator("pre mark").first).to_be_visible()
    expect(rows.locator("pre s").first).to_be_attached()
    screenshot(page, "train-columns")

    page.get_by_role("button", name="Training steps").click()
    longest = page.get_by_label("Longest row")
    longest.fill("8")
    longest.press("Enter")
    expect(rows).to_contain_text("100 % of rows lose a part to truncation at 8 tokens")

    page.get_by_role("button", name="Uploaded datasets").click()
    page.get_by_role("button", name="Delete…").click()
    question = page.locator("#delete-dataset-question").first
    expect(question).to_contain_text(re.compile(r"Delete my-faq-[0-9a-f]{8}\.csv for good"))
    assert len(list((server.data_dir / "datasets").glob("my-faq-*.csv"))) == 1
    page.get_by_role("button", name="Delete for good").click()
    expect(question).to_be_hidden()
    assert list((server.data_dir / "datasets").glob("*.csv")) == []


def test_a_broken_upload_names_its_line_and_leaves_nothing(
    server: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text(json.dumps({"prompt": "Hi", "completion": "Ho"}) + "\n{<img src=x>\n")
    page = open_page(server.url + TRAIN.path)
    expect(page.locator("#rows mark").first).to_be_visible()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a dataset").click()
    chooser.value.set_files(broken)
    alert = page.get_by_role("alert").filter(has_text="line 2")
    expect(alert).to_contain_text("not JSON")
    assert list((server.data_dir / "datasets").glob("broken*")) == []


def test_what_cannot_work_is_said_beside_its_field_and_can_be_put_right(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(server.url + TRAIN.path + "?rank=300")
    rank = page.locator("#field-method-rank input")
    expect(rank).to_have_value("300")
    start = page.get_by_role("button", name="Start training")
    start.click()
    alert = page.get_by_role("alert").filter(has_text="over the dimension")
    expect(alert).to_contain_text("model.layers.0.mlp.down_proj and 27 more is 256")
    expect(alert).to_contain_text("at most 256 is allowed")
    rank.fill("0")
    start.click()
    expect(page.get_by_role("alert").filter(has_text="greater than or equal to 1")).to_be_visible()
    assert not any((server.data_dir / "runs").iterdir())


def test_an_address_that_asks_for_too_much_says_so_and_leaves_a_form_that_works(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(server.url + TRAIN.path + "?optimization.learning_rate=10")
    expect(page.get_by_role("alert").filter(has_text="got 10").first).to_be_visible()
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    expect(page.locator("#field-name textarea, #field-name input").first).not_to_have_value("")


def test_the_start_button_stays_in_reach_on_a_phone(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url + TRAIN.path, width=390)
    expect(page.locator("#rows mark").first).to_be_visible()
    page.get_by_role("button", name="How this works").scroll_into_view_if_needed()
    expect(page.get_by_role("button", name="Start training")).to_be_in_viewport()


def test_the_calculators_choices_arrive_on_the_form(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url + CALCULATOR.path)
    way = page.get_by_role("link", name="Train this")
    expect(way).to_be_visible()
    state = dict(parse_qsl(urlsplit(way.get_attribute("href")).query))
    carried = {"method.target_modules", "optimization.batch_size", "optimization.precision"}
    assert carried <= set(state)
    way.click()
    page.wait_for_url(re.compile(TRAIN.path))
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    page.get_by_role("button", name="Training steps").click()
    expect(page.get_by_label("Batch size")).to_have_value(state["optimization.batch_size"])
    precision = json.loads(state["optimization.precision"])
    expect(page.get_by_label("Precision")).to_have_value(precision)
    page.get_by_role("button", name="The adapter").click()
    targets = ", ".join(json.loads(state["method.target_modules"]))
    expect(page.get_by_label("Target modules")).to_have_value(targets)


@pytest.fixture
def dirty(tmp_path: Path) -> Path:
    """Thirty sound rows, two with an empty answer, and one with markup in question and answer."""
    rows = [{"prompt": f"What is {n}?", "completion": f"It is {n}."} for n in range(30)]
    rows += [{"prompt": f"And {n}?", "completion": ""} for n in range(2)]
    rows += [{"prompt": "<img src=x onerror=alert(1)> <b>A</b>", "completion": "<i>B</i>"}]
    path = tmp_path / "dirty.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


def test_a_set_is_checked_and_the_cleaned_one_is_chosen(
    server: Server, open_page: OpenPage, dirty: Path
) -> None:
    page = open_page(server.url + TRAIN.path)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a dataset").click()
    chooser.value.set_files(dirty)
    expect(page.locator("#rows")).to_contain_text("33 rows")
    expect(page.locator("#early-warnings")).to_contain_text("Empty answers")

    page.get_by_role("button", name="Check the data, row by row").click()
    page.get_by_role("button", name="Check every row").click()
    findings = page.locator("#data-findings")
    findings.get_by_text("Empty answers").click()
    expect(findings).to_contain_text("row 31: “And 0?”")
    expect(findings.locator("img")).to_have_count(0)

    page.get_by_role("checkbox", name="Empty answers (2)").check()
    page.get_by_role("button", name="Write the cleaned set").click()
    expect(page.locator("#data-cleaned")).to_contain_text("31 rows are in dirty-cleaned-")
    expect(page.locator("#rows")).to_contain_text("31 rows")
    expect(page.locator("#early-warnings")).not_to_contain_text("Empty answers")
    expect(findings).to_be_empty()


def test_a_mixture_is_typed_filtered_and_evaluated_on_a_set_of_its_own(
    server: Server, open_page: OpenPage, tmp_path: Path, screenshot
) -> None:
    held = tmp_path / "held.jsonl"
    rows = [{"prompt": "What is a wolf?", "completion": f"Answer {n}"} for n in range(3)]
    held.write_text("\n".join(map(json.dumps, rows)))
    page = open_page(server.url + TRAIN.path)
    rows_shown = page.locator("#rows")
    expect(rows_shown.locator("mark").first).to_be_visible()
    page.get_by_role("button", name="Several sets, filters").click()
    page.get_by_label("Mixture").fill("3 starter:pirate\nstarter:json")
    table = rows_shown.get_by_role("region", name="The sets")
    expect(table.get_by_role("row")).to_have_count(3)
    expect(table.get_by_role("row").nth(1)).to_contain_text("75.0 %")
    expect(rows_shown).to_contain_text("Row 1 of starter:json")
    fewest = page.get_by_label("Fewest characters")
    fewest.fill("60")
    fewest.press("Enter")
    expect(rows_shown).to_contain_text("196 rows with fewer than 60 characters")
    evaluated = page.get_by_role("combobox", name="Evaluation set")
    evaluated.fill(str(held))
    evaluated.press("Enter")
    expect(table.get_by_role("row").nth(3)).to_contain_text("held.jsonl")
    expect(rows_shown).to_contain_text("3 to evaluate")
    screenshot(page, "train-mixture")
    page.wait_for_url(re.compile(r"dataset\.mixture="))

    page.reload()

    page.get_by_role("button", name="Several sets, filters").click()
    expect(page.get_by_label("Mixture")).to_have_value("3 starter:pirate\n1 starter:json")
    expect(fewest).to_have_value("60")
    expect(rows_shown).to_contain_text("3 to evaluate")
    page.get_by_label("Leave out what matches").fill("(")
    page.get_by_label("Leave out what matches").press("Enter")
    alert = page.get_by_role("alert").filter(has_text="no sound regular expression")
    expect(alert.first).to_be_visible()


def test_the_files_own_columns_are_shown_with_what_stands_in_them(
    server: Server, open_page: OpenPage, faq: Path
) -> None:
    page = open_page(server.url + TRAIN.path)
    source = page.locator("#field-dataset-source input")
    source.fill(str(faq))
    source.press("Enter")
    page.get_by_role("button", name="Columns and format").click()
    columns = page.get_by_role("region", name="The file's own columns")
    expect(columns.get_by_role("rowheader")).to_have_text(["Frage", "Antwort"])
    expect(columns).to_contain_text("What is a wolf?")
