"""The lesson in a real browser: walked in Chinese from the first step to the last, touched, and its
numbers compared with NumPy's."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from lora_engine.language import speaking, tr
from lora_engine.spectrum import TEACHING
from pages import LEARN
from pages.learn.steps import STEPS
from pages.shared import static_files
from tests.browser.conftest import Server, wait_until_it_fits

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
TWO_ENGLISH_WORDS = re.compile(r"[A-Za-z]{3,} [A-Za-z]{3,}")


def shown_step(page: Page):
    return page.locator(".rs-step-shown")


def chinese(text: str) -> str:
    with speaking("zh"):
        return tr(text)


def test_the_lesson_is_walked_in_chinese_from_first_to_last(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{server.url}/zh{LEARN.path}?step=1", width=390)
    for number, step in enumerate(STEPS, 1):
        column = page.locator(f"#step-{step.key}")
        expect(column).to_be_visible()
        expect(shown_step(page)).to_have_count(1)
        heading = column.get_by_role("heading", level=2)
        expect(heading).to_have_text(chinese(step.title))
        expect(column.locator(".rs-claim")).to_have_text(chinese(step.claim))
        expect(column.locator(".rs-formula .katex").first).to_be_visible()
        for picture in column.locator(".rs-picture").all():
            expect(picture.locator("> *").first).to_be_visible()
        wait_until_it_fits(page, 390)
        assert set(column.locator(".rs-try a").evaluate_all(HREFS)) >= {"/zh"}
        if number < len(STEPS):
            page.get_by_role("link", name=chinese("Next: {title}").split("{")[0]).click()
            expect(page).to_have_url(re.compile(rf"/zh/learn\?step={number + 1}$"))
            following = page.locator(f"#step-{STEPS[number].key} h2")
            expect(following).to_be_focused()
    expect(shown_step(page).locator(".rs-forward")).to_have_count(0)


HREFS = "(links) => links.map((link) => new URL(link.href).pathname.slice(0, 3))"


def test_keys_and_back_move_and_the_browser_remembers(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"{server.url}/learn?step=2")
    first, second, third = (f"#step-{step.key}" for step in STEPS[:3])
    expect(page.locator(second)).to_be_visible()

    page.keyboard.press("ArrowRight")
    expect(page.locator(third)).to_be_visible()
    expect(page).to_have_url(re.compile("step=3"))
    expect(page.get_by_role("navigation").locator("[aria-current=step]")).to_contain_text("3")
    page.go_back()
    expect(page.locator(second)).to_be_visible()

    slider = page.locator(second).get_by_role("slider")
    slider.press("ArrowRight")
    expect(page.locator(second)).to_be_visible()
    expect(page.locator(second).get_by_role("status").first).to_contain_text("σ₅")

    page.goto(f"{server.url}/learn")
    expect(page.locator(second)).to_be_visible()
    page.goto(f"{server.url}/learn?step=99")
    expect(page.locator(second)).to_be_visible()
    page.get_by_role("link", name=re.compile(f"1.*{STEPS[0].title}")).first.click()
    expect(page.locator(first)).to_be_visible()


def test_the_fifth_row_becomes_independent(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"{server.url}/learn?step=1")
    rank = page.locator("#rank-picture .rs-rank-figure b")
    says = page.locator("#rank-picture").get_by_role("status")
    expect(rank).to_have_text("4")
    expect(says).to_contain_text("r₅ = r₁ + r₂")

    page.get_by_label("S, row 5, column 1").fill("7")
    expect(rank).to_have_text("4")
    expect(says).not_to_contain_text("r₅ = r₁ + r₂.")
    page.get_by_label("S, row 5, column 2").fill("x")
    expect(page.locator("#rank-picture").get_by_role("alert")).to_contain_text("x")
    page.get_by_role("button", name="Make row 5 independent").click()
    expect(rank).to_have_text("5")
    page.locator("#rank-picture").get_by_role("button", name="Start again").click()
    page.locator("#rank-picture").get_by_role("slider").press("ArrowRight")
    expect(rank).to_have_text("5")
    expect(says).to_contain_text("σ₅")


SVD = """async ([module, matrices]) => {
    const { svd, rankOf, dependentRow } = await import(module);
    return matrices.map((rows) => {
        const found = svd(rows);
        return { ...found, rank: rankOf(found.s, 5, 5), row: dependentRow(rows) ?? null };
    });
}"""


def test_singular_values_in_the_browser_are_numpys(server: Server, open_page: OpenPage) -> None:
    random = np.random.default_rng(0)
    made = [np.array(TEACHING, dtype=float)]
    made += [random.integers(-9, 10, (5, 5)).astype(float) for _ in range(20)]
    made += [random.integers(-3, 4, (5, 2)) @ random.integers(-3, 4, (2, 5)) for _ in range(10)]
    page = open_page(f"{server.url}/learn?step=1")
    address = static_files.address("learn/linear.js")
    found = page.evaluate(SVD, [address, [one.tolist() for one in made]])
    for matrix, answer in zip(made, found, strict=True):
        values = np.linalg.svd(matrix.astype(float), compute_uv=False)
        np.testing.assert_allclose(answer["s"], values, atol=1e-12 * max(values[0], 1))
        rebuilt = np.array(answer["u"]).T @ np.diag(answer["s"]) @ np.array(answer["v"])
        np.testing.assert_allclose(rebuilt, matrix, atol=1e-12 * max(values[0], 1))
        rank = np.linalg.matrix_rank(matrix)
        assert answer["rank"] == rank
        assert (answer["row"] is None) == (rank == 5)
        if answer["row"]:
            parts, row = np.array(answer["row"]["parts"]), answer["row"]["row"]
            np.testing.assert_allclose(parts @ matrix, matrix[row], atol=1e-9)


def test_an_edited_step_is_worked_out_by_the_engine(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"{server.url}/learn?step=5")
    picture = page.locator("#gradient-picture")
    after = picture.locator(".rs-gradient-losses b").nth(1)
    expect(after).to_have_text("0.366")
    picture.get_by_role("slider").press("End")
    expect(picture.get_by_role("status")).to_contain_text("Too far")
    picture.get_by_role("button", name="B = 0").click()
    expect(picture.get_by_role("status")).to_contain_text("A has no gradient")
    expect(picture.locator(".rs-gradient-losses b").first).to_have_text("0.5")


def test_the_layer_runs_on_the_page(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"{server.url}/learn?step=6")
    expect(page.locator(".rs-source")).to_contain_text("class LoRALayer")
    page.locator("#lesson-run").click()
    tiles = page.locator("#lesson-result .rs-tile dd:not(.rs-small-note)")
    expect(tiles.nth(1)).to_have_text("0", timeout=120_000)
    expect(tiles.first).to_contain_text("448")
