"""The runs page: every run in a list, one of them live, with others drawn beside it; sweeps.

The selection stands in the address (`/runs?run=…&with=…&find=…`), so a link, a reload and Back
show the same. This module binds the events; `workbench` lays out, `content` says what is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.engine import Engine
from lora_engine.language import tr
from lora_engine.spec import recipe_spec
from pages import RUNS
from pages.runs import controls, run_list, run_table, sweep_section, watching, workbench
from pages.runs.components import RunsPage
from pages.runs.extending import wire_extension
from pages.runs.going_on import offer, wire_going_on
from pages.runs.selection import (
    existing_runs,
    newest_run,
    selection_in_address,
    with_existing_run,
)
from pages.runs.tabs import TABS, wire_tabs
from pages.shared import layout
from pages.shared.questions import wire_taking_back
from pages.shared.static_files import event_js
from pages.shared.wiring import Update, expose, problem_box, wire

REFRESH_S = 2.0  # at least; what a tab asks and draws costs the training
EXAMPLE = "pirate"


def build(engine: Engine) -> gr.Blocks:
    with layout.shell(RUNS) as blocks:
        with gr.Tabs(elem_id="runs-tabs") as tabs:
            with gr.Tab(tr("Runs"), id=TABS[0]) as runs_tab:
                page = workbench.lay_out(engine)
                runs_timer = gr.Timer(REFRESH_S)
            with gr.Tab(tr("Sweeps"), id=TABS[1]) as sweeps_tab:
                sweeps_timer = sweep_section.build_section(engine, sweeps_tab)
        _wire_opening(page, blocks)
        _wire_refresh(page, runs_timer)
        _wire_selection(page)
        _wire_actions(page)
        _wire_deletion(page)
        wire_extension(page)
        wire_going_on(page)
        wire_tabs(blocks, tabs, {runs_tab: runs_timer, sweeps_tab: sweeps_timer})
        expose(run_table.runs_endpoint(engine), api_name="runs")
        offer(engine)
    return blocks


def _wire_opening(page: RunsPage, blocks: gr.Blocks) -> None:
    """The address fills the fields; a run that it names and that is not there is told."""
    fields, shown = page.fields, page.shown

    def open_page(request: gr.Request) -> Update:
        named = selection_in_address(page.engine, request)
        selection, missing = with_existing_run(page.engine, named)
        return {**fields.filled(selection), **page.show_run(selection), **page.told(missing)}

    filled = [fields.others, fields.search.find, fields.search.states, fields.axis]
    outputs = [*filled, *page.run_fields, *shown.outputs, page.problem]
    opening = wire([blocks.load], open_page, [], outputs, problem=problem_box())
    opening.then(**page.correct_address)


def _wire_refresh(page: RunsPage, timer: gr.Timer) -> None:
    """The page follows what happens to its runs: the browser asks `watching`, no handler."""
    fields, shown, deletion = page.fields, page.shown, page.deletion
    address = watching.address()
    asked = timer.tick(
        fn=None,
        inputs=[shown.fingerprint, deletion.asked_id, *fields.ordered],
        outputs=[shown.news],
        js=event_js("runs/news.js", "ask", address, list(watching.FIELDS)),
        api_visibility="private",
    )
    asked.then(**page.apply_news).then(**page.correct_address)


def _wire_selection(page: RunsPage) -> None:
    """Another run, others beside it, other rows or columns; the address remembers them."""
    fields, shown = page.fields, page.shown
    search, runs = fields.search, page.shown.runs

    def choose(values: Mapping[Component, Any]) -> Update:
        before, given = fields.read(values), values[runs]
        chosen = page.engine.runs.get(run_list.chosen_in(given)).id
        views = existing_runs(page.engine.runs.list(), run_list.ticked_in(given))
        ids = tuple(view.id for view in views)
        selection = replace(before, run_id=chosen, others=ids)
        is_same = chosen == before.shown_run(page.engine)
        shown_now = page.show(selection) if is_same else page.show_run(selection)
        return {fields.run_id: chosen, fields.others: ",".join(ids), **shown_now}

    def select(values: Mapping[Component, Any]) -> Update:
        return page.show(fields.read(values), values[shown.fingerprint])

    chosen = wire(
        [runs.input],
        choose,
        {runs, *fields.inputs},
        [fields.others, *page.run_fields, *shown.outputs],
        problem=page.problem,
        trigger_mode="always_last",
    )
    chosen.then(**fields.remember_choices)
    selected = wire(
        [search.find.change, search.states.input, search.columns.input, fields.axis.input],
        select,
        {shown.fingerprint, *fields.inputs},
        shown.outputs,
        problem=search.problem,
        trigger_mode="always_last",
    )
    selected.then(**fields.remember_choices)


def _wire_actions(page: RunsPage) -> None:
    """Something is done to the run that is shown."""
    runs, fields, shown, note = page.engine.runs, page.fields, page.shown, page.note

    def start_example(values: Mapping[Component, Any]) -> Update:
        run_id = runs.submit(recipe_spec(EXAMPLE)).id
        selection = replace(fields.read(values), run_id=run_id)
        return {fields.run_id: run_id, **page.show(selection)}

    def pause_run(values: Mapping[Component, Any]) -> Update:
        return change(runs.pause, values)

    def resume_run(values: Mapping[Component, Any]) -> Update:
        return change(runs.resume, values)

    def cancel_run(values: Mapping[Component, Any]) -> Update:
        return change(runs.cancel, values)

    def start_earlier(values: Mapping[Component, Any]) -> Update:
        return change(lambda run_id: runs.move_in_queue(run_id, -1), values)

    def start_later(values: Mapping[Component, Any]) -> Update:
        return change(lambda run_id: runs.move_in_queue(run_id, 1), values)

    def write_note(values: Mapping[Component, Any]) -> Update:
        text, tags = values[note.text], values[note.tags].split(",")
        return change(lambda run_id: runs.annotate(run_id, text, tags), values)

    def change(action: Callable[[str], object], values: Mapping[Component, Any]) -> Update:
        selection = fields.read(values)
        action(selection.shown_run(page.engine))
        return page.show(selection, values[shown.fingerprint])

    given, outputs = {shown.fingerprint, *fields.inputs}, [fields.run_id, *shown.outputs]
    started = wire([shown.start.click], start_example, fields.inputs, outputs, problem=page.problem)
    started.then(**fields.remember)
    handlers = {
        "pause": pause_run,
        "resume": resume_run,
        "cancel": cancel_run,
        "earlier": start_earlier,
        "later": start_later,
    }
    for name, handler in handlers.items():
        wire([shown.actions[name].click], handler, given, shown.outputs, problem=page.problem)
    inputs = {note.text, note.tags, *given}
    wire([note.save.click], write_note, inputs, shown.outputs, problem=note.problem)


def _wire_deletion(page: RunsPage) -> None:
    """A question, then for good."""
    engine, fields, shown, deletion = page.engine, page.fields, page.shown, page.deletion

    def ask_to_delete(values: Mapping[Component, Any]) -> Update:
        view = engine.runs.get(fields.read(values).shown_run(engine))
        question = controls.deletion_question(view)
        return {
            deletion.group: gr.Column(visible=True),
            deletion.question: question,
            deletion.asked_id: view.id,
        }

    def delete_run(values: Mapping[Component, Any]) -> Update:
        engine.runs.delete(values[deletion.asked_id])
        left = replace(fields.read(values), run_id=newest_run(engine))
        return {deletion.group: gr.Column(visible=False), **page.show_run(left)}

    question = [deletion.group, deletion.question, deletion.asked_id]
    asking = shown.actions["delete"].click
    wire([asking], ask_to_delete, fields.inputs, question, problem=page.problem)
    wire_taking_back(deletion.keep.click, deletion.group, deletion.asked_id)
    deleted = wire(
        [deletion.sure.click],
        delete_run,
        {deletion.asked_id, *fields.inputs},
        [deletion.group, *page.run_fields, *shown.outputs],
        problem=page.problem,
    )
    deleted.then(**fields.remember)
