"""The tabs of the runs page: which one the address names, and that only the shown one refreshes."""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr

from pages.shared import layout
from pages.shared.static_files import event_js
from pages.shared.wiring import Update, problem_box, wire

TABS = ("runs", "sweeps")


def wire_tabs(blocks: gr.Blocks, tabs: gr.Tabs, timers: Mapping[gr.Tab, gr.Timer]) -> None:
    """The address chooses the tab and remembers it; each tab's timer runs while it is shown.

    timers: by their tabs, in the order of `TABS`.
    """

    def choose_tab(request: gr.Request) -> Update:
        return {tabs: gr.Tabs(selected=tab_in_address(request))}

    wire([blocks.load], choose_tab, [], [tabs], problem=problem_box())
    for number, (tab, name) in enumerate(zip(timers, TABS, strict=True)):
        tab.select(
            fn=None,
            outputs=list(timers.values()),
            js=event_js("runs/tabs.js", "chooseTab", name, TABS[0], number, len(TABS)),
            api_name="page_choose_runs_tab",
            api_visibility="private",
        )


def tab_in_address(request: gr.Request) -> str:
    named = layout.state_of(request, "tab")
    if named in TABS:
        return named
    names_sweep = layout.state_of(request, "sweep") and not layout.state_of(request, "run")
    return TABS[1] if names_sweep else TABS[0]
