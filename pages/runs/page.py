"""The runs page: every run in a table, and one of them live, with others drawn beside it; sweeps.

The selection stands in the address (`/runs?run=…&with=…&find=…`), so a link or a reload shows the
same. This module lays the page out and binds its events; `content` says what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.engine import Engine
from lora_engine.spec import recipe_spec
from pages import RUNS
from pages.runs import controls, curves, run_table, samples_and_updates, sweep_section
from pages.runs.components import RunsPage, Shown
from pages.runs.content import fingerprint_of
from pages.runs.extending import wire_extension
from pages.runs.run_figures import STEP, TIME, TOKENS
from pages.runs.selection import (
    SelectionFields,
    existing_runs,
    newest_run,
    selection_in_address,
    with_existing_run,
)
from pages.runs.tabs import TABS, wire_tabs
from pages.shared import layout
from pages.shared.live import live_table, ticked_in
from pages.shared.questions import wire_taking_back
from pages.shared.wiring import Update, expose, problem_box, wire

REFRESH_S = 1.0
EXAMPLE = "pirate"

HELP = r"""
**Loss** is the mean of $-\log p$ over the supervised tokens of a step, in nats a token; the
perplexity is $e^{\text{loss}}$, so a loss of 0.69 is the uncertainty of a fair coin at every
token. **Evaluation loss** is the same over rows that are never trained on: while both fall the
run learns; when evaluation turns up while training falls, it memorizes. The thin line is the loss
as it came, the thick one its exponential moving average, weight 0.9.

Tokens a second counts every token read, padding left out. Time left is the mean time a step so
far, times the steps to go. Memory is the worker's own: resident memory on a processor, the
largest allocation on a GPU.

**Pause** finishes the step, saves a checkpoint and stops; **resume** goes on from there with the
very numbers that the uninterrupted run would have had. **Cancel** saves too, but is not waited
for longer than eight seconds. A run that is over can be deleted, with its checkpoints and its
adapter.

**Extend** trains a finished run further: a new run starts from its last checkpoint, optimizer and
all, and numbers its steps on. The schedule is planned over the new total, so each further step has
the learning rate of a run that was that long from the start.
"""


def build(engine: Engine) -> gr.Blocks:
    with layout.shell(RUNS) as blocks:
        with gr.Tabs(elem_id="runs-tabs") as tabs:
            with gr.Tab("Runs", id=TABS[0]) as runs_tab:
                page = _lay_out(engine)
                runs_timer = gr.Timer(REFRESH_S)
            with gr.Tab("Sweeps", id=TABS[1]) as sweeps_tab:
                sweeps_timer = sweep_section.build_section(engine, sweeps_tab)
        _wire_opening(page, blocks)
        _wire_refresh(page, runs_timer)
        _wire_selection(page)
        _wire_actions(page)
        _wire_deletion(page)
        wire_extension(page)
        wire_tabs(blocks, tabs, {runs_tab: runs_timer, sweeps_tab: sweeps_timer})
        expose(run_table.runs_endpoint(engine), api_name="runs")
    return blocks


def _lay_out(engine: Engine) -> RunsPage:
    heading = gr.HTML(elem_id="run-heading")
    start = gr.Button("Start the example", variant="primary", visible=False, elem_id="start")
    actions = controls.actions()
    problem = problem_box()
    deletion = controls.deletion("delete")
    extension = controls.extension()
    plots = curves.plots()
    axis = gr.Radio([STEP, TOKENS, TIME], value=STEP, label="Draw over", elem_id="axis")
    facts = gr.HTML(elem_id="run-facts")
    reports = samples_and_updates.lay_out()
    note = controls.note()
    command = controls.command()
    log = controls.log()
    layout.section("All runs", f"Tick up to {curves.MOST_RUNS - 1} to draw them with this one.")
    search = controls.search()
    table = live_table(label="All runs", file_name="runs.csv", elem_id="all-runs")
    layout.how_this_works(HELP)
    run_id = gr.Textbox(visible=False, elem_id="selected-run-id")
    others = gr.Textbox(visible=False, elem_id="ticked-run-ids")
    fingerprint = gr.Textbox(visible=False, elem_id="fingerprint")
    fields = SelectionFields(run_id, others, search, axis)
    shown = Shown(fingerprint, heading, start, actions, plots, facts, table, log, command)
    return RunsPage(engine, fields, shown, note, deletion, extension, reports, problem)


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
    """The page follows what happens to its runs."""
    fields, shown, reports, deletion = page.fields, page.shown, page.reports, page.deletion

    def refresh(values: Mapping[Component, Any]) -> Update:
        last = values[shown.fingerprint]
        if not last:  # the page has not opened yet, so its address is not read
            return {}
        before = fields.read(values)
        selection, missing = with_existing_run(page.engine, before)
        if missing is not None:
            is_deleted_here = before.run_id == values[deletion.asked_id]
            return {**page.show_run(selection), **page.told(None if is_deleted_here else missing)}
        if last == fingerprint_of(page.engine, selection):
            return {}
        return page.show(selection)

    def refresh_reports(values: Mapping[Component, Any]) -> Update:
        run_id, last = values[fields.run_id], values[reports.fingerprint]
        if not run_id or samples_and_updates.fingerprint_of(page.engine, run_id) == last:
            return {}
        return reports.showing(samples_and_updates.reports_of(page.engine, run_id))

    problem = problem_box()
    refreshed = wire(
        [timer.tick],
        refresh,
        {shown.fingerprint, deletion.asked_id, *fields.inputs},
        [*page.run_fields, *shown.outputs, page.problem],
        problem=problem,
        queue=False,
    )
    refreshed.then(**page.correct_address)
    inputs: set[Component] = {reports.fingerprint, fields.run_id}
    wire([timer.tick], refresh_reports, inputs, reports.outputs, problem=problem, queue=False)


def _wire_selection(page: RunsPage) -> None:
    """Other runs, rows or columns are selected; the address remembers it."""
    fields, shown = page.fields, page.shown
    search = fields.search

    def tick_row(values: Mapping[Component, Any]) -> Update:
        others = existing_runs(page.engine, ticked_in(values[shown.table]))
        ids = tuple(view.id for view in others)
        selection = replace(fields.read(values), others=ids)
        return {fields.others: ",".join(ids), **page.show(selection)}

    def select(values: Mapping[Component, Any]) -> Update:
        return page.show(fields.read(values))

    ticked = wire(
        [shown.table.input],
        tick_row,
        {shown.table, *fields.inputs},
        [fields.others, *shown.outputs],
        problem=page.problem,
        trigger_mode="always_last",
    )
    ticked.then(**fields.remember)
    selected = wire(
        [search.find.change, search.states.input, search.columns.input, fields.axis.input],
        select,
        fields.inputs,
        shown.outputs,
        problem=search.problem,
        trigger_mode="always_last",
    )
    selected.then(**fields.remember)


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
        return page.show(selection)

    started = wire(
        [shown.start.click],
        start_example,
        fields.inputs,
        [fields.run_id, *shown.outputs],
        problem=page.problem,
    )
    started.then(**fields.remember)
    handlers = {
        "pause": pause_run,
        "resume": resume_run,
        "cancel": cancel_run,
        "earlier": start_earlier,
        "later": start_later,
    }
    for name, handler in handlers.items():
        clicked = shown.actions[name].click
        wire([clicked], handler, fields.inputs, shown.outputs, problem=page.problem)
    inputs = {note.text, note.tags, *fields.inputs}
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
