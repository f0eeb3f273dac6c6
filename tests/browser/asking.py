"""Asking on the compare page, and waiting until the answer is whole and kept."""

from __future__ import annotations

from playwright.sync_api import Page, expect

LONGEST_MS = 60_000
MARK = """() => document.querySelectorAll("#compare-status *, #compare-kept *")
    .forEach((node) => node.toggleAttribute("data-earlier", true))"""
NEW = ":not([data-earlier])"


def asks_anew(page: Page) -> None:
    """What stands there is an earlier answer's from here on: `finished` waits for another."""
    page.evaluate(MARK)


def ask(page: Page, question: str) -> None:
    page.get_by_label("Your question").fill(question)
    asks_anew(page)
    page.get_by_role("button", name="Ask", exact=True).click()


def finished(page: Page) -> None:
    """Wait for the proof, which follows the last token, and for the links to what was kept then."""
    proof = page.locator(f"#compare-status .rs-badge{NEW}", has_text="largest |Δ logit|")
    expect(proof).to_be_visible(timeout=LONGEST_MS)
    kept = page.locator(f"#compare-kept .rs-kept-line{NEW}", has_text="Spectrum")
    expect(kept.first).to_be_visible()
