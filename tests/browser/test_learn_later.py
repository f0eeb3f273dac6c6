"""The lesson's later steps in a real browser: each picture is touched, and follows."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from lora_engine.lesson import read_measured
from pages import LEARN
from pages.learn.steps import STEPS
from tests.browser.conftest import Server

OpenPage = Callable[..., Page]
NUMBER = {step.key: number for number, step in enumerate(STEPS, 1)}


def go_to(page: Page, key: str):
    page.get_by_role("navigation", name="The steps").get_by_role("link").nth(
        NUMBER[key] - 1
    ).click()
    column = page.locator(f"#step-{key}")
    expect(column.locator(".rs-lesson-panel")).to_be_visible()
    return column


def test_the_pictures_of_the_later_steps_follow(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"{server.url}{LEARN.path}?step={NUMBER['starts']}")

    step = page.locator("#step-starts")
    both_zero = step.locator(".rs-start", has_text="Both zero")
    expect(both_zero).to_contain_text("after step 20: loss 0.874")
    step.get_by_role("slider", name="Step").press("End")
    expect(both_zero).to_contain_text("after step 120: loss 0.874")
    step.get_by_role("button", name="Other random numbers").click()
    expect(both_zero).not_to_contain_text("loss 0.874")

    step = go_to(page, "scaling")
    told = step.locator("[role=status]")
    expect(told).to_contain_text("multiplies B·A by 2,")
    step.get_by_role("slider", name="Rank").press("ArrowRight")
    expect(told).to_contain_text("multiplies B·A by 1,")

    step = go_to(page, "where")
    step.get_by_role("button", name="+0.108").click()
    expect(step.locator("[role=status]")).to_contain_text("q in layer 0")
    step.get_by_role("button", name="Size of ΔW").click()
    largest = max(read_measured().where.norms.values())
    expect(step.get_by_role("button", name=f"{largest:.2f}").first).to_be_visible()

    step = go_to(page, "energy")
    step.get_by_role("slider").press("End")
    expect(step.locator("[role=status]")).to_contain_text("at k = 64, 28 of 28")

    step = go_to(page, "qlora")
    before = step.locator("[role=status]").inner_text()
    step.get_by_role("slider").press("ArrowRight")
    expect(step.locator("[role=status]")).not_to_have_text(before)

    step = go_to(page, "memory")
    step.get_by_role("slider").press("Home")
    expect(step.get_by_text("5.8 GB, fits")).to_be_visible()
    expect(step.get_by_text("14.5 GB, too much")).to_be_visible()

    step = go_to(page, "methods")
    step.get_by_role("button", name="Numbers trained").click()
    expect(step.get_by_role("listitem").last).to_contain_text("3,934,464")

    step = go_to(page, "choose")
    step.get_by_role("button", name="entities").click()
    expect(step.locator("[role=status]")).to_contain_text("rank 32")
    link = step.get_by_role("link", name="Train with rank 32")
    expect(link).to_have_attribute("href", "/train?rank=32&alpha=64")
