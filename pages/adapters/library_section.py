"""The tab "Library": every adapter in a table, found by words and tags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_engine.adapters import KIND_NAMES, AdapterSummary
from lora_engine.engine import Engine
from pages import ADAPTERS
from pages.shared import layout, live
from pages.shared.adapter_choices import adapter_choices, adapter_key
from pages.shared.address_fields import AddressFields
from pages.shared.no_adapter import no_adapter_html
from pages.shared.wiring import Update, problem_box, wire

HOW = "A finished run leaves its adapter here; one made elsewhere is added below."
COLUMNS = (
    live.Column("adapter"),
    live.Column("base model"),
    live.Column("method"),
    live.Column("rank", layout.count, numeric=True),
    live.Column("α", "{:g}".format, numeric=True),
    live.Column("size", layout.byte_size, numeric=True),
    live.Column("trained on"),
    live.Column("eval. loss", layout.number, numeric=True),
    live.Column("tags"),
    live.Column("made (UTC)", lambda text: text[:16].replace("T", " ")),
    live.Column("made by"),
    live.Column("targets"),
    live.Column("run"),
    live.Column("note"),
    live.Column("folder"),
)


@dataclass(frozen=True)
class LibraryList:
    """The search, and what it finds."""

    find: gr.Textbox
    tag: gr.Dropdown
    problem: gr.HTML
    empty: gr.HTML
    table: gr.HTML
    unreadable: gr.HTML

    @property
    def outputs(self) -> list[gr.HTML]:
        return [self.empty, self.table, self.unreadable]


def lay_out() -> LibraryList:
    with gr.Row():
        find = gr.Textbox(
            label="Find", info="Words in the name, note, tags, base model, dataset or targets.",
            elem_id="find", scale=2,
        )  # fmt: skip
        tag = gr.Dropdown(
            [("any", "")], value="", label="Tag", info="Only adapters with this tag.",
            allow_custom_value=True, elem_id="tag", scale=1,
        )  # fmt: skip
    return LibraryList(
        find,
        tag,
        problem=problem_box(),
        empty=gr.HTML(js_on_load=""),
        table=live.live_table(label="Adapters", file_name="adapters.csv", elem_id="all-adapters"),
        unreadable=gr.HTML(js_on_load="", elem_id="unreadable-adapters"),
    )


def connect(
    engine: Engine, library: LibraryList, adapter: gr.Dropdown, blocks: gr.Blocks
) -> Callable[[Callable[..., Any]], Any]:
    """Fill the list as the page opens and as it is searched.

    Returns what lists again after another event.
    """
    find, tag = library.find, library.tag

    def list_adapters(find_words: str, tag_name: str | None) -> Update:
        return _listed(engine, library, find_words, tag_name or "")

    def list_tags() -> Update:
        tags = sorted({name for one in engine.adapters.list() for name in one.tags})
        return {tag: gr.Dropdown(choices=[("any", ""), *((name, name) for name in tags)])}

    def list_again(find_words: str, tag_name: str | None) -> Update:
        return {
            **list_adapters(find_words, tag_name),
            **list_tags(),
            adapter: gr.Dropdown(choices=adapter_choices(engine)),
        }

    address = AddressFields({"find": find, "tag": tag})
    address.remember([find.change, tag.input], "page_remember_search")
    recalled = address.recall(blocks, library.problem, "page_recall_search")
    for triggers in ([find.change, tag.input], recalled.then):
        wire(
            triggers, list_adapters, [find, tag], library.outputs, problem=library.problem,
            follows=True,
        )  # fmt: skip
    wire([blocks.load], list_tags, [], [tag], problem=library.problem)
    outputs = [*library.outputs, tag, adapter]
    return lambda then: wire(then, list_again, [find, tag], outputs, problem=library.problem)


def _listed(engine: Engine, library: LibraryList, find: str, tag: str) -> Update:
    found = engine.adapters.list(find, tag)
    is_searched = bool(find.strip() or tag)
    notes = [f"{one.path}: {one.problem}" for one in engine.adapters.unreadable()]
    return {
        library.empty: "" if found or is_searched else no_adapter_html(engine, HOW),
        library.table: _table_value(found) if found or is_searched else "",
        library.unreadable: layout.notes_html(notes),
    }


def _table_value(adapters: Sequence[AdapterSummary]) -> str:
    """The table of adapters; a name opens it."""
    rows = [
        (
            adapter.name,
            adapter.base_model,
            KIND_NAMES[adapter.kind],
            adapter.rank,
            adapter.alpha,
            adapter.bytes,
            adapter.dataset,
            adapter.eval_loss,
            ", ".join(adapter.tags) or None,
            adapter.created_at,
            adapter.made_by,
            adapter.targets,
            adapter.run_id,
            adapter.note.partition("\n")[0] or None,
            str(adapter.path),
        )
        for adapter in adapters
    ]
    links = [layout.link(ADAPTERS, adapter=adapter_key(adapter)) for adapter in adapters]
    return live.table_value(COLUMNS, rows, links=links, empty="No adapter has these words.")
