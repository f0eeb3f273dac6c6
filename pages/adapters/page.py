"""The adapters page: every adapter at the left, the opened one at the right, in tabs.

Each tab is a section in a module of its own (`SECTIONS`). The address says which adapter is open
and which tab: `/adapters?adapter=…&tab=…`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from pages import ADAPTERS
from pages.adapters import (
    about_section,
    add_section,
    combine_section,
    extract_section,
    library_section,
    merge_section,
    resize_section,
    take_away_section,
)
from pages.adapters.parts import AdapterParts, opened_adapter
from pages.shared import layout
from pages.shared.adapter_choices import adapter_choices, adapter_key
from pages.shared.static_files import event_js
from pages.shared.wiring import Update, problem_box, wire

HELP = translatable(r"""
An adapter is two thin matrices $A$ and $B$ for each weight it was trained on, and nothing of the
base model: it is small, and it works only with the base it was trained on. It is kept as PEFT
writes it (`adapter_model.safetensors`, `adapter_config.json`), so `PeftModel.from_pretrained`
loads it, beside a `provenance.json` that says which run, base and rows it came from.

$$\Delta W = s\, B A, \qquad s = \alpha / r$$

with $B$ of (out, rank) and $A$ of (rank, in); with rsLoRA, $s = \alpha / \sqrt r$. Its size is
$r\,(\text{in} + \text{out})$ numbers a weight. The norm
$\lVert \Delta W \rVert_F = s \sqrt{\sum (B^T B) \circ (A A^T)}$ is read from the factors;
$\Delta W$ itself is never made.

**Example.** Rank 8 and $\alpha$ 16 on a weight of 256 × 256: $s = 16 / 8 = 2$ (with rsLoRA
$16 / \sqrt 8 = 5.66$), and 8 · (256 + 256) = 4,096 numbers instead of 65,536.

Adapters are found in finished runs and in the folder `adapters` of the data folder. One that you
add is copied there after it has been checked: whole, finite, and of a form that is applied here.
""")


@dataclass(frozen=True)
class Section:
    """A tab: its id in the address, its title, and what builds it."""

    id: str
    title: str
    build: Callable[[Engine, AdapterParts, gr.Blocks], None]


SECTIONS = (
    Section("about", translatable("About"), about_section.build_section),
    Section("resize", translatable("Resize"), resize_section.build_section),
    Section("combine", translatable("Combine"), combine_section.build_section),
    Section("merge", translatable("Merge"), merge_section.build_section),
    Section("extract", translatable("Extract"), extract_section.build_section),
    Section("take-away", translatable("Export"), take_away_section.build_section),
)
"""The tabs of the opened adapter, in their order; the page opens on the first."""
LIBRARY = "library"
"""The tab beside them: every adapter in one table."""


def build(engine: Engine) -> gr.Blocks:
    with layout.shell(ADAPTERS) as blocks, gr.Row(elem_classes="rs-library"):
        with gr.Column(elem_classes="rs-library-side", min_width=0):
            adapter, found = library_section.lay_out_side()
            add_section.build_section(engine)
        with gr.Column(elem_classes="rs-library-main", min_width=0):
            problem = problem_box()
            heading = about_section.lay_out_heading()
            with gr.Tabs(elem_id="adapter-tabs", overflow_behavior="wrap") as tabs:
                drawn = {one.id: gr.Tab(tr(one.title), id=one.id) for one in SECTIONS}
                with gr.Tab(tr("Table"), id=LIBRARY) as last:
                    table = library_section.lay_out_table()
            list_again = library_section.connect(engine, found, table, adapter, blocks)
            for section in SECTIONS:
                with drawn[section.id] as tab:
                    section.build(engine, AdapterParts(adapter, tab, heading, list_again), blocks)
                _remember(tab, section.id)
            _remember(last, LIBRARY)
            layout.how_this_works(tr(HELP))
        _wire_opening(engine, blocks, tabs, adapter, problem)
    return blocks


def _wire_opening(
    engine: Engine, blocks: gr.Blocks, tabs: gr.Tabs, adapter: gr.Dropdown, problem: gr.HTML
) -> None:
    """The address fills the field and chooses the tab; another adapter is another address."""

    def selected_tab(request: gr.Request) -> Update:
        return {tabs: gr.Tabs(selected=_tab_in_address(request))}

    def fill_field(request: gr.Request) -> Update:
        found = opened_adapter(engine, request)
        key = adapter_key(found)
        return {adapter: gr.Dropdown(choices=_choices(engine, key), value=key)}

    wire([blocks.load], selected_tab, [], [tabs], problem=problem)
    wire([blocks.load], fill_field, [], [adapter], problem=problem)
    adapter.input(
        fn=None,
        inputs=[adapter],
        js=event_js("adapters/address.js", "openAdapter", LIBRARY),
        api_name="page_open_adapter",
        api_visibility="private",
    )


def _choices(engine: Engine, key: str) -> list[tuple[str, str]]:
    """Every listed adapter, and the opened one where it lies in a folder of its own."""
    listed = adapter_choices(engine)
    if any(key == value for _, value in listed):
        return listed
    return [*listed, (engine.adapters.get(key).name, key)]


def _remember(tab: gr.Tab, name: str) -> None:
    """Write the tab into the address when it is chosen."""
    tab.select(
        fn=None,
        js=event_js("shared/address.js", "rememberTab", name, SECTIONS[0].id),
        api_name="page_remember_tab",
        api_visibility="private",
    )


def _tab_in_address(request: gr.Request) -> str:
    named = layout.state_of(request, "tab")
    known = (LIBRARY, *(section.id for section in SECTIONS))
    return named if named in known else SECTIONS[0].id
