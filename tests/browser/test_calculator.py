"""The calculator page in a real browser: the worked example, any model, and what is taken along."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from pages.shared import static_files
from tests.browser.conftest import Server
from tests.browser.late_answers import assert_the_last_choice_wins

pytestmark = pytest.mark.slow

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
    expect(page.locator("#methods tbody tr")).to_have_count(12, timeout=COUNTING_MS)


def test_the_first_view_is_an_answer(server: Server, browser: Browser) -> None:
    """The values stand in the page as it is sent: here nothing is asked of the server."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.route("**/gradio_api/**", lambda route: route.abort())
    page.goto(server.url)
    expect(page.locator("#model-tiles")).to_contain_text("4,194,304")
    expect(page.locator("#memory-tiles")).to_contain_text("21.5 GiB")
    expect(page.locator("#methods tbody tr")).to_have_count(12)
    expect(page.get_by_role("link", name="Train this")).to_be_visible()
    assert spec_of(page)["method"]["rank"] == 8
    shown = page.locator("body").inner_text()
    assert not [sign for sign in ("…", "•••") if sign in shown]
    page.close()


def test_a_card_is_its_memory_and_qlora_brings_checkpointing(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(server.url)
    tiles = page.locator("#memory-tiles .rs-tile")
    page.locator("#field-card input").fill("11 GB")
    page.keyboard.press("Enter")
    expect(tiles.nth(1)).to_contain_text("missing on 11 GB")
    expect(page).to_have_url(re.compile("card=11"))
    choose(page, "#field-quantization-bits", "4 bit (QLoRA)")
    expect(page.get_by_label("Gradient checkpointing")).to_be_checked()
    expect(tiles.nth(1)).to_contain_text("left on 11 GB")
    expect(page).to_have_url(re.compile("gradient_checkpointing=true"))
    expect(tiles.nth(4)).to_contain_text("largest rank")

    page.locator("#field-card input").fill("a big one")
    page.keyboard.press("Enter")
    expect(page.locator("#field-card .rs-wrong-text")).to_contain_text("12 GB")


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
    spec = page.locator("#run-spec textarea")
    expect(spec).to_have_value(re.compile('"k_proj"'), timeout=COUNTING_MS)
    assert spec_of(page)["method"]["target_modules"] == ["q_proj", "v_proj", "k_proj"]
    expect(ticked).to_have_count(3)


LATE_ANSWER = """async (module) => {
    const { ticks } = await import(module);
    const element = document.createElement("div");
    element.innerHTML = '<div class="rs-ticks"></div>';
    document.body.append(element);
    const modules = ["q", "k", "v"].map((name) => ({ label: name, targets: [name] }));
    const answer = (asked, ticked) => JSON.stringify({ modules, ticked, asked });
    const props = { value: answer(["q"], [0]) };
    let drawn;
    const watch = (_, draw) => { drawn = draw; };
    const shown = () => [...element.querySelectorAll("input:checked")].map(({ name }) => name);
    const comes = (value) => { props.value = value; drawn(); return shown(); };
    ticks(element, props, watch, () => {});
    element.querySelector("[name=k]").click();
    const late = comes(answer(["q"], [0]));
    element.querySelector("[name=v]").click();
    const told = JSON.parse(props.value).ticked;
    const answered = comes(answer(["q", "k", "v"], [0, 1, 2]));
    return { late, told, answered, typed: comes(answer(["v"], [2])) };
}"""


def test_an_answer_from_before_a_tick_does_not_take_it_back(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(server.url)
    found = page.evaluate(LATE_ANSWER, static_files.address("calculator/calculator.js"))
    assert found == {
        "late": ["q", "k"],
        "told": [0, 1, 2],
        "answered": ["q", "k", "v"],
        "typed": ["v"],
    }


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


def choose(page: Page, field: str, option: str) -> None:
    page.locator(f"{field} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def type_number(page: Page, field: str, number: str) -> None:
    page.locator(f"{field} input[type=number]").fill(number)


def number_in(page: Page, field: str) -> str:
    return page.locator(f"{field} input[type=number]").input_value()


def show_trained(page: Page, trained: str, spec: dict) -> None:
    """The tile, the model in the address, and the spec to take along say the same."""
    tile = page.locator("#model-tiles .rs-tile").nth(1).locator("dd").first
    expect(tile).to_have_text(trained, timeout=COUNTING_MS)
    expect(page.locator("#model-tiles")).to_have_attribute("data-answer", "given")
    method = spec_of(page)["method"]
    assert {name: method[name] for name in spec} == spec


def choose_targets_and_rank(page: Page) -> None:
    choose(page, "#field-method-target-modules", "all linear layers")
    type_number(page, "#field-method-rank", "16")


LATE = {
    "a model, then targets and a rank": (
        lambda page: choose(page, "#preset", "GPT-2"),
        choose_targets_and_rank,
        # 16 · 12 · ((768 + 2304) + (768 + 768) + 2 · (768 + 3072))
        lambda page: show_trained(page, "2,359,296", {"rank": 16, "target_modules": "all-linear"}),
    ),
    "a rank, then a batch": (
        lambda page: type_number(page, "#field-method-rank", "600"),
        lambda page: type_number(page, "#field-workload-batch-size", "3"),
        lambda page: show_trained(page, f"{600 * 524_288:,}", {"rank": 600}),
    ),
}


@pytest.mark.parametrize("pair", LATE)
def test_the_last_choice_wins_over_a_late_answer(
    pair: str, server: Server, open_page: OpenPage
) -> None:
    page = open_page(server.url)
    wait_for_count(page)
    first, second, shown = LATE[pair]
    assert_the_last_choice_wins(page, first, second, shown)


def test_a_refused_field_takes_every_figure_away(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    wait_for_count(page)
    tiles = page.locator("#model-tiles .rs-tile")
    for wrong in ("1000000000", "1.5", ""):
        type_number(page, "#field-workload-batch-size", wrong)
        expect(tiles).to_have_count(0)
        expect(page.locator("#memory-bar .rs-plot")).to_be_hidden()
        assert page.get_by_text("GiB left on").count() == 0
        assert page.locator("#run-spec textarea").input_value() == ""
        message = page.locator("#field-workload-batch-size .rs-wrong-text")
        expect(message).to_be_visible()
        expect(page.get_by_role("alert").filter(has_text="1000000")).to_have_count(
            1 if wrong == "1000000000" else 0
        )
        assert number_in(page, "#field-workload-batch-size") == wrong
        type_number(page, "#field-workload-batch-size", "2")
        expect(tiles).to_have_count(4)
        expect(message).to_have_count(0)


def test_a_wrong_rank_is_neither_clamped_nor_answered(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    tiles = page.locator("#matrix .rs-tile")
    low_rank = tiles.nth(1).locator("dd").first
    ends = page.locator("#field-rank input[type=range]")
    expect(ends).to_have_attribute("max", "2048")

    type_number(page, "#field-rank", "600")
    expect(low_rank).to_have_text(f"{600 * 8192:,}")
    for wrong in ("1.5", "", "5000"):
        type_number(page, "#field-rank", wrong)
        expect(page.locator("#field-rank .rs-wrong-text")).to_contain_text("from 1 to 4,096")
        expect(tiles).to_have_count(0)
        assert number_in(page, "#field-rank") == wrong
    type_number(page, "#field-rank", "9")
    expect(low_rank).to_have_text("73,728")


CHOSEN = (
    "preset=gpt2&rank=4&targets=attention&alpha=7&use_dora=true&bits=4&quantization=fp4"
    "&batch_size=3&seq_length=512&card=RTX+3060+12+GB&gradient_checkpointing=true"
    "&optimizer=adafactor&dtype=float32&rows=50&epochs=7"
)


def test_a_link_gives_back_every_field(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"{server.url}/?{CHOSEN}")
    # The page opens on the count of its opening model, so the model of the address is waited for.
    said = page.locator("#run-spec textarea")
    expect(said).to_have_value(re.compile('"batch_size": 3'), timeout=COUNTING_MS)
    spec = spec_of(page)
    assert spec["quantization"] == {"bits": 4, "type": "fp4", "double": True}
    assert (spec["method"]["rank"], spec["method"]["alpha"]) == (4, 7.0)
    assert spec["method"]["use_dora"]
    steps = spec["optimization"]
    assert (steps["batch_size"], steps["max_length"], steps["epochs"]) == (3, 512, 3)
    assert (steps["optimizer"], steps["gradient_checkpointing"]) == ("adafactor", True)
    assert page.get_by_text("on RTX 3060 12 GB").count() > 0

    page.get_by_label("Gradient checkpointing").uncheck()
    expect(page).not_to_have_url(re.compile("gradient_checkpointing"))
    page.reload()
    expect(said).to_have_value(re.compile('"batch_size": 3'), timeout=COUNTING_MS)
    assert not spec_of(page)["optimization"]["gradient_checkpointing"]
    assert spec_of(page)["optimization"]["batch_size"] == 3
    page.go_back()
    wait_for_count(page)
    expect(page.get_by_label("Gradient checkpointing")).to_be_checked()


def test_an_address_that_is_wrong_is_told(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"{server.url}/?d=abc&card=nope&k=512")
    expect(page.locator("#field-d .rs-wrong-text")).to_contain_text("d=abc")
    expect(page.locator("#field-card .rs-wrong-text")).to_contain_text("nope")
    expect(page.locator("#matrix .rs-tile dd").first).to_have_text(f"{4096 * 512:,}")


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
