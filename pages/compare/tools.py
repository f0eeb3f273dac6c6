"""The tabs of the compare page: the answers, and each tool that looks at them.

A tool's result stands in its own tab, where it was asked for. Knows what the tabs are called and
how the address names them; knows nothing of what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from lora_engine.language import tr, translatable
from pages.shared import layout
from pages.shared.static_files import event_js
from pages.shared.wiring import Update

ANSWERS, TOKENS, VOTE, SET = "answers", "tokens", "vote", "set"
LOSSES, SERVER, SETTINGS, CLASSIFY = "losses", "server", "settings", "classify"
TITLES = {
    ANSWERS: translatable("Answers"),
    TOKENS: translatable("Token by token"),
    VOTE: translatable("Blind vote"),
    SET: translatable("Prompt set"),
    LOSSES: translatable("Forgetting and loss"),
    SERVER: translatable("Another server"),
    SETTINGS: translatable("Settings"),
    CLASSIFY: translatable("Classifier"),  # last: it comes where there is one, and moves no other
}


def tool_tabs() -> gr.Tabs:
    """The tabs, all empty: `inside` fills them in any order."""
    with gr.Tabs(elem_id="compare-tabs", overflow_behavior="wrap") as tabs:
        for name in TITLES:
            _tab(name)
    return tabs


@contextmanager
def inside(tabs: gr.Tabs, name: str) -> Iterator[gr.Tab]:
    """Within: what is made stands in that tab."""
    tab = next(one for one in tabs.children if isinstance(one, gr.Tab) and one.id == name)
    with tabs, tab:
        yield tab


def _tab(name: str) -> None:
    tab = gr.Tab(tr(TITLES[name]), id=name, elem_id=f"tool-{name}", visible=name != CLASSIFY)
    tab.select(
        fn=None,
        js=event_js("shared/address.js", "rememberTab", name, ANSWERS),
        api_name="page_remember_tab",
        api_visibility="private",
    )


def tab_in_address(request: gr.Request) -> str:
    """The tab that the address names; the answers where it names none."""
    named = layout.state_of(request, "tab")
    return named if named in TITLES else ANSWERS


def shown(tabs: gr.Tabs, name: str) -> Update:
    """The update that turns to a tab."""
    return {tabs: gr.Tabs(selected=name)}
