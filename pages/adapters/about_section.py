"""The tab "About": one adapter opened, with what it is and what can be done with it."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from lora_engine.adapters import AdapterDetails
from lora_engine.engine import Engine
from lora_engine.errors import NotFound
from lora_engine.language import tr
from pages import ADAPTERS
from pages.adapters import about_html, about_modules
from pages.adapters.parts import AdapterParts, opened_adapter
from pages.adapters.routes import zip_address
from pages.shared import layout, live
from pages.shared.adapter_choices import adapter_key
from pages.shared.questions import wire_taking_back
from pages.shared.static_files import event_js
from pages.shared.wiring import Update, problem_box, wire


@dataclass(frozen=True)
class Shown:
    """What follows from the opened adapter."""

    problem: gr.HTML
    heading: gr.HTML
    tiles: gr.HTML
    sizes: gr.HTML
    checks: gr.HTML
    facts: gr.HTML
    words: gr.HTML
    table: gr.HTML
    code: gr.Code

    @property
    def outputs(self) -> list[gr.HTML | gr.Code]:
        return [
            self.heading, self.tiles, self.sizes, self.checks, self.facts, self.words, self.table,
            self.code,
        ]  # fmt: skip


@dataclass(frozen=True)
class Note:
    """What the person writes about it."""

    text: gr.Textbox
    tags: gr.Textbox
    save: gr.Button
    problem: gr.HTML


@dataclass(frozen=True)
class Deletion:
    """The question before an added adapter is deleted; the button is there for such alone."""

    ask: gr.Button
    group: gr.Column
    question: gr.HTML
    sure: gr.Button
    keep: gr.Button
    problem: gr.HTML


def build_section(engine: Engine, parts: AdapterParts, blocks: gr.Blocks) -> None:
    shown = _lay_out(parts.heading)
    note = _note()
    deletion = _deletion()

    def open_adapter(request: gr.Request) -> Update:
        found = opened_adapter(engine, request)
        key = adapter_key(found)
        return {
            **_showing(engine, shown, engine.adapters.details(key), key),
            note.text: found.note,
            note.tags: ", ".join(found.tags),
            deletion.ask: gr.Button(visible=engine.adapters.is_added(found)),
        }

    outputs = [*shown.outputs, note.text, note.tags, deletion.ask]
    wire([blocks.load], open_adapter, [], outputs, problem=shown.problem)
    _wire_note(engine, parts, shown, note)
    _wire_deletion(engine, parts, deletion)


def lay_out_heading() -> gr.HTML:
    """The opened adapter's name and where to go with it; it stands over the tabs."""
    return gr.HTML(_reserved("heading"), js_on_load="", elem_id="adapter-heading")


def _lay_out(heading: gr.HTML) -> Shown:
    problem = problem_box()
    tiles = gr.HTML(_reserved("tiles"), js_on_load="", elem_id="adapter-tiles")
    with gr.Row(elem_classes="rs-about-pair"):
        checks = gr.HTML(_reserved("checks"), js_on_load="", elem_id="adapter-checks")
        sizes = gr.HTML(_reserved("sizes"), js_on_load="", elem_id="adapter-sizes")
    with gr.Tabs(elem_id="about-tabs"):
        with gr.Tab(tr("Origin")):
            facts = gr.HTML(_reserved("facts"), js_on_load="", elem_id="adapter-facts")
        with gr.Tab(tr("Every module")):
            words = gr.HTML(js_on_load="", elem_id="adapter-modules-words")
            table = live.live_table(
                label=tr("Modules"), file_name="adapter-modules.csv", elem_id="adapter-modules"
            )
        with gr.Tab(tr("Load it in Python")):
            code = gr.Code(
                "", language="python", show_label=False, label=tr("Python"), interactive=False,
                elem_id="adapter-code", show_line_numbers=False, buttons=["copy"],
            )  # fmt: skip
    return Shown(problem, heading, tiles, sizes, checks, facts, words, table, code)


def _reserved(part: str) -> str:
    """The room that a part takes, until it is there: nothing moves when it comes."""
    return f'<div class="rs-reserved-{part}"></div>'


def _note() -> Note:
    with layout.folded(tr("Note and tags")):
        problem = problem_box()
        text = gr.Textbox(label=tr("Note"), lines=3, max_lines=8, elem_id="field-note")
        tags = gr.Textbox(
            label=tr("Tags"),
            info=tr("Words to find it by, separated by commas."),
            elem_id="field-tags",
        )
        save = gr.Button(tr("Keep note and tags"), size="sm", elem_id="save-note")
    return Note(text, tags, save, problem)


def _deletion() -> Deletion:
    with gr.Row(elem_classes="rs-actions"):
        ask = gr.Button(
            tr("Delete this adapter…"), size="sm", visible=False, elem_id="delete-adapter", scale=0,
            min_width=180,
        )  # fmt: skip
    problem = problem_box()
    with gr.Column(visible=False, elem_id="delete-adapter-question") as group:
        question = gr.HTML(js_on_load="")
        with gr.Row():
            sure = gr.Button(tr("Delete for good"), variant="stop", size="sm")
            keep = gr.Button(tr("Keep it"), size="sm")
    return Deletion(ask, group, question, sure, keep, problem)


def _showing(engine: Engine, shown: Shown, found: AdapterDetails, key: str) -> Update:
    return {
        shown.heading: _heading(engine, found, key),
        shown.tiles: about_html.tiles(found),
        shown.checks: about_html.checks(found.checks),
        shown.sizes: about_html.sizes(found),
        shown.facts: about_html.facts(found),
        shown.words: about_modules.words(found),
        shown.table: about_modules.table_value(found),
        shown.code: engine.adapters.loading_code(key),
    }


def _heading(engine: Engine, found: AdapterDetails, key: str) -> str:
    try:
        engine.runs.get(found.summary.run_id or "")
        has_run = True
    except NotFound:
        has_run = False
    return about_html.heading(found, zip_address(key), has_run)


def _wire_note(engine: Engine, parts: AdapterParts, shown: Shown, note: Note) -> None:
    def keep_note(adapter: str, text: str, tags: str) -> Update:
        engine.adapters.annotate(adapter, text, tags.split(","))
        found = engine.adapters.details(adapter)
        return {shown.heading: _heading(engine, found, adapter)}

    inputs = [parts.adapter, note.text, note.tags]
    saved = wire([note.save.click], keep_note, inputs, [shown.heading], problem=note.problem)
    parts.list_again(saved.then)


def _wire_deletion(engine: Engine, parts: AdapterParts, deletion: Deletion) -> None:
    address = gr.Textbox(visible=False)

    def ask_to_delete(adapter: str) -> Update:
        name = engine.adapters.get(adapter).name
        words = tr("Delete {name} for good? Nothing brings it back.", name=name)
        return {
            deletion.group: gr.Column(visible=True),
            deletion.question: layout.notes_html([words]),
        }

    def delete_adapter(adapter: str) -> Update:
        engine.adapters.delete(adapter)
        return {deletion.group: gr.Column(visible=False), address: layout.link(ADAPTERS)}

    problem = deletion.problem
    question = [deletion.group, deletion.question]
    wire([deletion.ask.click], ask_to_delete, [parts.adapter], question, problem=problem)
    wire_taking_back(deletion.keep.click, deletion.group)
    outputs = [deletion.group, address]
    deleted = wire([deletion.sure.click], delete_adapter, [parts.adapter], outputs, problem=problem)
    deleted.then(
        fn=None, inputs=[address], js=event_js("shared/address.js", "go"),
        api_name="page_leave_adapter", api_visibility="private",
    )  # fmt: skip
