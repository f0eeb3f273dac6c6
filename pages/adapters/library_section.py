"""Every adapter: a list at the side, found by words and tags, and all of them in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from lora_engine.adapters import KIND_NAMES, AdapterSummary
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr, tr_count, translatable
from pages import ADAPTERS
from pages.adapters.parts import opened_adapter
from pages.shared import layout, live
from pages.shared.adapter_choices import adapter_choices, adapter_key
from pages.shared.address_fields import AddressFields
from pages.shared.static_files import event_js
from pages.shared.wiring import Update, problem_box, wire

MOST_ITEMS = 200
OPERATIONS = {
    "resize": translatable("resizing"),
    "combine": translatable("combining"),
    "extract": translatable("extraction"),
    "portable": translatable("a portable export"),
}


@dataclass(frozen=True)
class LibraryList:
    """The search at the side, and what it finds."""

    find: gr.Textbox
    tag: gr.Dropdown
    problem: gr.HTML
    items: gr.HTML
    unreadable: gr.HTML


def lay_out_side() -> tuple[gr.Dropdown, LibraryList]:
    """The field that says which adapter is open, and the list."""
    find = gr.Textbox(
        label=tr("Find"), placeholder=tr("name, note, tag, base, rows…"), elem_id="find"
    )
    tag = gr.Dropdown(
        [(tr("any"), "")], value="", label=tr("Tag"), allow_custom_value=True, elem_id="tag"
    )
    problem = problem_box()
    items = gr.HTML(_reserved(), js_on_load="", elem_id="adapter-list")
    unreadable = gr.HTML(js_on_load="", elem_id="unreadable-adapters")
    with layout.folded(tr("Open a folder"), elem_id="open-folder"):
        adapter = gr.Dropdown(
            [], value=None, label=tr("Adapter"), allow_custom_value=True, elem_id="opened-adapter",
            info=tr("One known here, or the folder of a PEFT adapter."),
        )  # fmt: skip
    return adapter, LibraryList(find, tag, problem, items, unreadable)


def lay_out_table() -> gr.HTML:
    return live.live_table(label=tr("Adapters"), file_name="adapters.csv", elem_id="all-adapters")


def connect(
    engine: Engine, library: LibraryList, table: gr.HTML, adapter: gr.Dropdown, blocks: gr.Blocks
) -> Callable[[Callable[..., Any]], Any]:
    """Fill the list as the page opens and as it is searched.

    Returns what lists again after another event.
    """
    find, tag = library.find, library.tag

    def list_adapters(find_words: str, tag_name: str | None, request: gr.Request) -> Update:
        found = engine.adapters.list(find_words, tag_name or "")
        notes = [f"{one.path}: {one.problem}" for one in engine.adapters.unreadable()]
        return {
            library.items: items_html(found, _opened(engine, request)),
            table: table_value(found),
            library.unreadable: layout.notes_html(notes),
        }

    def list_tags() -> Update:
        tags = sorted({name for one in engine.adapters.list() for name in one.tags})
        return {tag: gr.Dropdown(choices=[(tr("any"), ""), *((name, name) for name in tags)])}

    def list_again(find_words: str, tag_name: str | None, request: gr.Request) -> Update:
        return {
            **list_adapters(find_words, tag_name, request),
            **list_tags(),
            adapter: gr.Dropdown(choices=adapter_choices(engine)),
        }

    address = AddressFields({"find": find, "tag": tag})
    address.remember([find.change, tag.input], "page_remember_search")
    recalled = address.recall(blocks, library.problem, "page_recall_search")
    shown = [library.items, table, library.unreadable]
    for triggers in ([find.change, tag.input], recalled.then):
        listed = wire(
            triggers, list_adapters, [find, tag], shown, problem=library.problem, follows=True
        )
        listed.then(
            fn=None, js=event_js("adapters/list.js", "showOpened"), api_name="page_show_opened",
            api_visibility="private",
        )  # fmt: skip
    wire([blocks.load], list_tags, [], [tag], problem=library.problem)
    outputs = [*shown, tag, adapter]
    return lambda then: wire(then, list_again, [find, tag], outputs, problem=library.problem)


def items_html(adapters: Sequence[AdapterSummary], opened: str) -> str:
    """The list, each adapter a link to itself. opened: the key of the one that is open."""
    if not adapters:
        return f'<p class="rs-adapter-words">{escape(tr("No adapter has these words."))}</p>'
    items = "".join(_item(one, adapter_key(one) == opened) for one in adapters[:MOST_ITEMS])
    left = len(adapters) - MOST_ITEMS
    more = tr_count("{count} more: search, or see the table.",
                    "{count} more: search, or see the table.", left)  # fmt: skip
    foot = f'<p class="rs-adapter-words">{escape(more)}</p>' if left > 0 else ""
    return f'<ul class="rs-adapters" aria-label="{escape(tr("Adapters"))}">{items}</ul>{foot}'


def table_value(adapters: Sequence[AdapterSummary]) -> str:
    """The table of adapters; a name opens it."""
    rows = [
        (
            adapter.name,
            adapter.base_model,
            tr(KIND_NAMES[adapter.kind]),
            adapter.rank,
            adapter.alpha,
            adapter.bytes,
            adapter.dataset,
            adapter.eval_loss,
            None if adapter.bundled else adapter.created_at,
            ", ".join(adapter.tags) or None,
            _made_by(adapter.made_by),
            adapter.targets,
            adapter.run_id,
            adapter.note.partition("\n")[0] or None,
            str(adapter.path),
        )
        for adapter in adapters
    ]
    links = [layout.link(ADAPTERS, adapter=adapter_key(adapter)) for adapter in adapters]
    empty = tr("No adapter has these words.")
    return live.table_value(_columns(), rows, links=links, empty=empty)


def _columns() -> tuple[live.Column, ...]:
    return (
        live.Column(tr("adapter")),
        live.Column(tr("base model")),
        live.Column(tr("method")),
        live.Column(tr("rank"), layout.count, numeric=True),
        live.Column("α", "{:g}".format, numeric=True),
        live.Column(tr("size"), layout.byte_size, numeric=True),
        live.Column(tr("trained on")),
        live.Column(tr("eval. loss"), layout.number, numeric=True),
        live.Column(tr("made (UTC)"), lambda text: text[:16].replace("T", " ")),
        live.Column(tr("tags"), aside=True),
        live.Column(tr("made by"), aside=True),
        live.Column(tr("targets"), aside=True),
        live.Column(tr("run"), aside=True),
        live.Column(tr("note"), aside=True),
        live.Column(tr("folder"), aside=True),
    )


def _made_by(operation: str | None) -> str | None:
    return None if operation is None else tr(OPERATIONS.get(operation, operation))


def _item(adapter: AdapterSummary, is_open: bool) -> str:
    """A name, what it is, and whether it comes with the program."""
    facts = [adapter.size, adapter.base_model or "", layout.byte_size(adapter.bytes)]
    if adapter.eval_loss is not None:
        facts.append(tr("loss {loss}", loss=layout.number(adapter.eval_loss)))
    bundled = f"<em>{escape(tr('comes with Rankscope'))}</em>" if adapter.bundled else ""
    tags = "".join(f'<span class="rs-tag">{escape(tag)}</span>' for tag in adapter.tags[:4])
    current = ' aria-current="page"' if is_open else ""
    href = escape(layout.link(ADAPTERS, adapter=adapter_key(adapter)))
    said = " · ".join(escape(fact) for fact in facts if fact)
    return (
        f'<li><a href="{href}"{current}><b>{escape(adapter.name)}</b>'
        f"<span>{said}</span>{bundled}{tags}</a></li>"
    )


def _opened(engine: Engine, request: gr.Request) -> str:
    """The key of the opened adapter; none is marked where the address names none that is here."""
    try:
        return adapter_key(opened_adapter(engine, request))
    except EngineError:
        return ""


def _reserved() -> str:
    """The place of the list, until it is there."""
    return '<div class="rs-adapters-reserved"></div>'
