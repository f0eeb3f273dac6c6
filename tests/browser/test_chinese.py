"""Every page in Chinese at 1280: no English words are left that a person should read in Chinese.

Names, code, formulas and English data are no such words; the list of them is short on purpose.
"""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from pages import PAGES

pytestmark = pytest.mark.slow

# Not text of ours, or none to translate: code, formulas, pictures, models' names, English data.
LEFT_ALONE = (
    "code, pre, .katex, svg, script, style, [lang=en], [data-english], .rs-plot, [translate=no], "
    ".rs-suggestions, .message"  # the starter's questions and answers
)
NAMES = re.compile(
    r"Llama[\w .-]*|Qwen[\w .-]*|GPT-?\w*( medium)?|BERT base|Mistral[\w .-]*|Mixtral[\w .-]*|"
    r"Gemma[\w .-]*|Phi[\w .-]*|NVIDIA|GeForce|RTX[\w ]*|Tesla \w+|AdamW?|Hugging Face|"
    r"starter:[\w-]+|(arXiv )?\d{4}\.\d{4,5}|config\.json|docs/\w+\.md|[\w./-]+\.(json|csv|py|md)|"
    r"prefix tuning|prompt tuning|P-tuning|Dr\. GRPO"
)
TWO_WORDS = re.compile(r"[A-Za-z][a-z']+ [A-Za-z]?[a-z']{2,}")
SHOWN = """(alone) => {
    const found = [];
    const both = NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT;
    const walk = document.createTreeWalker(document.body, both);
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
        const element = node.nodeType === 1 ? node : node.parentElement;
        if (element.closest(alone) || !element.checkVisibility()) continue;
        if (node.nodeType === 3) found.push(node.textContent);
        else for (const name of ["aria-label", "placeholder", "title", "alt"]) {
            found.push(node.getAttribute(name) ?? "");
        }
    }
    return found;
}"""


def english_in(texts: list[str]) -> list[str]:
    """The texts with two English words in a row that are no names."""
    return sorted({text.strip() for text in texts if TWO_WORDS.search(NAMES.sub("·", text))})


def test_what_counts_as_english():
    assert english_in(["训练 LoRA", "Llama 2 7B", "r = 8", "没有 Not yet", "AdamW, 8 位"]) == [
        "没有 Not yet"
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.package)
def test_a_page_leaves_no_english(page, server, open_page) -> None:
    tab = open_page(f"{server.url}/zh{page.path}")

    expect(tab.locator("html")).to_have_attribute("lang", "zh-CN")
    assert english_in(tab.evaluate(SHOWN, LEFT_ALONE)) == []


@pytest.mark.parametrize("address", ["compare", "adapters"])
def test_no_tab_of_a_page_leaves_english(address, server, open_page) -> None:
    tab = open_page(f"{server.url}/zh/{address}")
    tabs = tab.locator("[id$='-tabs'] > .tab-wrapper").first.get_by_role("tab")
    expect(tabs.nth(6)).to_be_visible()
    named = tabs.all_inner_texts()

    for name in named:
        tabs.get_by_text(name, exact=True).click()
        expect(tab.get_by_role("tab", name=name, exact=True)).to_have_attribute(
            "aria-selected", "true"
        )
        tab.wait_for_load_state("networkidle")
        assert english_in(tab.evaluate(SHOWN, LEFT_ALONE)) == [], name


def test_what_gradio_names_in_english_alone_is_said_in_chinese(server, open_page) -> None:
    tab = open_page(f"{server.url}/zh/compare")
    expect(tab.get_by_role("slider", name=re.compile("：滑块$")).first).to_be_visible()
    expect(tab.get_by_role("button", name="复制消息").first).to_be_attached()
    expect(tab.locator("[aria-label^='number input']")).to_have_count(0)


def test_the_switch_leads_to_the_same_page_and_is_kept(server, open_page) -> None:
    tab = open_page(f"{server.url}/spectrum?k=3")
    tab.get_by_role("link", name="中文").click()
    expect(tab.get_by_role("heading", name="谱分析", level=1)).to_be_visible()
    assert tab.url.startswith(f"{server.url}/zh/spectrum?")
    assert "k=3" in tab.url

    tab.goto(f"{server.url}/runs")  # an address without a language follows the choice
    expect(tab.get_by_role("heading", name="任务", level=1)).to_be_visible()
    assert tab.url.startswith(f"{server.url}/zh/runs")
