"""The shell in a real browser: every page opens, nothing leaves the machine, the guard holds."""

from __future__ import annotations

import csv
import io
import json
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError

import pytest
from playwright.sync_api import Page, expect

import pages
from pages import PAGES, RUNS
from pages.shared import static_files
from tests.browser.conftest import Server, Traffic, wait_until_it_fits
from tests.browser.late_answers import held_questions
from tests.csv_cells import RUN_BY_A_SPREADSHEET

OpenPage = Callable[..., Page]
KINDS = '.rs-table[data-label="Adapted modules"]'
COUNTING_MS = 60_000  # the first count loads torch, transformers and PEFT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.title)
def test_a_page_opens_fits_a_phone_and_asks_nobody_else(
    page: pages.Page, server: Server, open_page: OpenPage, traffic: Traffic
) -> None:
    shown = open_page(server.url + page.path, width=390)

    expect(shown.locator(".rs-header h1")).to_have_text(page.title)
    expect(shown.locator("nav a.active")).to_have_text(page.title)
    expect(shown).to_have_title(f"{page.title} · Rankscope")
    wait_until_it_fits(shown, 390)
    assert shown.locator("footer").count() == 0
    own = f"/{page.package}/"
    sheets = shown.evaluate("[...document.styleSheets].map((sheet) => sheet.href)")
    linked = [href for href in sheets if href and href.startswith(f"{server.url}/rankscope/")]
    others = [
        href for href in linked if not href.endswith("/shared/rankscope.css") and own not in href
    ]
    assert any(href.endswith("/shared/rankscope.css") for href in linked)
    assert [href for href in others if "?v=" not in href] == []
    assert len(traffic.requests) > 10


def test_the_bar_leads_to_every_page(server: Server, open_page: OpenPage) -> None:
    shown = open_page(server.url)

    links = shown.locator("nav a")
    expect(links).to_have_text([page.title for page in PAGES])
    shown.locator("nav a", has_text=RUNS.title).click()
    expect(shown.locator(".rs-header h1")).to_have_text(RUNS.title)


def test_the_rank_moves_by_key_and_repaints_without_the_server(
    server: Server, open_page: OpenPage, traffic: Traffic
) -> None:
    shown = open_page(server.url)
    low_rank = shown.locator("#matrix .rs-tile").nth(1).locator("dd").first
    expect(low_rank).to_have_text("65,536")
    shown.get_by_role("tab", name="Modules").click()
    expect(shown.locator(f"{KINDS} tbody tr")).to_have_count(2, timeout=COUNTING_MS)
    asked = len(traffic.asked)

    shown.locator("#field-rank input[type=range]").focus()
    shown.keyboard.press("ArrowRight")

    expect(low_rank).to_have_text("73,728")
    # What the page asked as it opened may still be read; a question of the key would be a new one.
    assert [url for url in traffic.asked[asked:] if "/queue/data" not in url] == []
    expect(shown).to_have_url(re.compile("r=9"))


def test_a_link_opens_the_calculator_in_its_state(server: Server, open_page: OpenPage) -> None:
    shown = open_page(f"{server.url}/?d=512&k=512&r=8&preset=gpt2&targets=all-linear&rank=4")

    tiles = shown.locator("#matrix .rs-tile dd")
    expect(tiles.first).to_have_text("262,144")
    expect(shown.get_by_label("Model", exact=True)).to_have_value("GPT-2")


def test_what_is_chosen_for_the_model_counts_for_its_memory(
    server: Server, open_page: OpenPage
) -> None:
    shown = open_page(f"{server.url}/?targets=all-linear&rank=16")
    plot = shown.locator("#memory-bar .rs-plot")
    expect(plot).to_have_attribute(
        "aria-label", re.compile("^.*23 GiB in all"), timeout=COUNTING_MS
    )

    shown.get_by_label("Gradient checkpointing").check()

    expect(plot).to_have_attribute("aria-label", re.compile("14.4 GiB"), timeout=COUNTING_MS)


def test_a_wrong_size_is_said_beside_the_field(server: Server, open_page: OpenPage) -> None:
    shown = open_page(server.url)

    shown.locator("#field-d input").fill("0")

    expect(shown.get_by_role("alert")).to_contain_text("from 1 to")
    expect(shown.locator("#field-d.rs-wrong .rs-wrong-text")).to_contain_text("got 0")
    shown.locator("#field-d input").fill("64")
    expect(shown.locator("#field-d.rs-wrong")).to_have_count(0)


def test_an_error_outlives_the_late_answer_of_the_opening(
    server: Server, open_page: OpenPage
) -> None:
    shown = open_page(server.url)
    with held_questions(shown) as held:
        shown.reload()
        held.wait_for(2)
        held.let_new_ones_pass()
        shown.locator("#field-d input").fill("0")
        expect(shown.get_by_role("alert")).to_contain_text("from 1 to")
        with shown.expect_response("**/gradio_api/run/predict*"):
            held.release()
    # The next frames are where the answer would have emptied the box.
    shown.evaluate("() => new Promise(done => setTimeout(done, 300))")

    expect(shown.get_by_role("alert")).to_contain_text("from 1 to")


def test_the_table_sorts_by_key_and_downloads_whole_numbers(
    server: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    shown = open_page(f"{server.url}/?preset=llama-2-7b&targets=all-linear&rank=16")
    shown.get_by_role("tab", name="Modules").click()
    table = shown.locator(KINDS)
    expect(table.locator("tbody tr")).to_have_count(7, timeout=COUNTING_MS)

    table.get_by_role("button", name="parameters", exact=True).focus()
    shown.keyboard.press("Enter")

    header = table.locator("th", has_text=re.compile("^parameters[↑↓]?$"))
    expect(header).to_have_attribute("aria-sort", "descending")
    last = table.locator("tbody td.rs-number:last-child")
    counts = [int(text.replace(",", "")) for text in last.all_inner_texts()]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == 39_976_960
    with shown.expect_download() as download:
        table.get_by_role("button", name="Download CSV").click()
    download.value.save_as(tmp_path / "table.csv")
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text("utf-8").splitlines()))
    assert sum(int(row["parameters"]) for row in rows) == 39_976_960


def test_a_download_runs_nothing_in_a_spreadsheet(server: Server, open_page: OpenPage) -> None:
    shown = open_page(server.url)
    shown.get_by_role("tab", name="Modules").click()
    expect(shown.locator(f"{KINDS} tbody tr")).to_have_count(2, timeout=COUNTING_MS)
    content = {
        "columns": [{"label": "name"}, {"label": "loss"}],
        "rows": [{"raw": [text, -0.5]} for text in (*RUN_BY_A_SPREADSHEET, 'a"b,c', "plain")],
    }

    made = shown.evaluate(
        "async ([module, content]) => (await import(module)).csv(content)",
        [static_files.address("shared/csv.js"), content],
    )

    first, second = zip(*list(csv.reader(io.StringIO(made, newline="")))[1:], strict=True)
    assert list(first) == [*(f"'{text}" for text in RUN_BY_A_SPREADSHEET), 'a"b,c', "plain"]
    assert set(second) == {"-0.5"}


def test_formulas_are_set_by_the_local_bundle(server: Server, open_page: OpenPage) -> None:
    shown = open_page(server.url)

    shown.get_by_role("button", name="How this works").click()

    expect(shown.locator(".rs-how .katex").first).to_be_visible()


def test_dark_mode_follows_the_machine(server: Server, open_page: OpenPage) -> None:
    dark, light = open_page(server.url, dark=True), open_page(server.url)

    for page, colour in ((dark, "rgb(17, 26, 43)"), (light, "rgb(255, 255, 255)")):
        expect(page.locator(".nav-holder")).to_have_css("background-color", colour)


def test_the_policy_keeps_a_script_from_calling_outside(
    server: Server, open_page: OpenPage, traffic: Traffic
) -> None:
    shown = open_page(server.url)

    with shown.expect_console_message(lambda said: "Content Security Policy" in said.text):
        refused = shown.evaluate(
            "() => fetch('http://198.51.100.1/').then(() => 'sent', error => error.name)"
        )

    assert refused == "TypeError"
    traffic.complaints.clear()
    traffic.requests.clear()


def _status(url: str, data: bytes | None = None, **headers: str) -> int:
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


def test_the_served_app_is_behind_the_guard(server: Server) -> None:
    url = server.url
    assert _status(url) == 200
    assert _status(f"{url}/healthz") == 200
    assert _status(url, Host="evil.example") == 421
    assert _status(url, Origin="http://evil.example") == 403
    assert _status(f"{url}/gradio_api/file=https://example.com/") == 403
    assert _status(f"{url}/gradio_api/file=/etc/passwd") == 403
    assert _status(f"{url}/docs") == 404


def test_the_server_fetches_no_file_that_a_caller_names(server: Server) -> None:
    # 198.51.100.1 is reserved for documentation: a fetch would hang until its time-out.
    listed = json.load(urllib.request.urlopen(f"{server.url}/config", timeout=30))
    takes_file = next(
        item
        for item in listed["dependencies"]
        if any(
            item["inputs"][:1] == [part["id"]] and part["type"] == "uploadbutton"
            for part in listed["components"]
        )
    )
    file = {"path": "http://198.51.100.1/x.jsonl", "meta": {"_type": "gradio.FileData"}}
    others = [None] * (len(takes_file["inputs"]) - 1)
    body = {"data": [file, *others], "fn_index": takes_file["id"], "session_hash": "test"}
    answer = urllib.request.Request(
        f"{server.url}/gradio_api/run/predict",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )

    with pytest.raises(HTTPError) as refused:
        urllib.request.urlopen(answer, timeout=20)

    assert refused.value.code == 500
    assert b"not uploaded" in refused.value.read()


def test_the_params_endpoint_counts_for_scripts(server: Server) -> None:
    from gradio_client import Client

    client = Client(server.url, verbose=False)

    counted = client.predict(d=4096, k=4096, rank=8, api_name="/params")
    assert (counted["full_parameters"], counted["lora_parameters"]) == (16_777_216, 65_536)
    with pytest.raises(Exception, match="rank"):
        client.predict(d=4096, k=4096, rank=0, api_name="/params")
    asked = {"preset": "llama-2-7b", "method": "qlora", "rank": 16}
    estimated = client.predict(**asked, api_name="/memory")
    total = sum(item["gib"] for item in estimated["items"])
    assert estimated["total_gib"] == pytest.approx(total)
