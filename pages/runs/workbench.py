"""How the runs page is laid out: the list at the left, one run at the right, the table beneath.

Lays out and names the parts; binds no event.
"""

from __future__ import annotations

from html import escape

import gradio as gr
from gradio.blocks import Block

from lora_engine.engine import Engine
from lora_engine.language import tr
from pages import RUNS
from pages.runs import controls, curves, machine_strip, place_form, run_list
from pages.runs.components import RunsPage, Shown
from pages.runs.run_figures import STEP, TIME, TOKENS
from pages.runs.selection import SelectionFields
from pages.shared import layout
from pages.shared.live import live_plot, live_table
from pages.shared.wiring import problem_box


def lay_out(engine: Engine) -> RunsPage:
    machine = gr.HTML(machine_strip.EMPTY, elem_id="machine", js_on_load="")
    problem = problem_box()
    with gr.Row(elem_id="workbench"):
        with gr.Column(elem_id="runs-side", scale=0, min_width=290):
            find, states = controls.find(), controls.states_field()
            search_problem = problem_box()
            runs = run_list.lay_out()
        with gr.Column(elem_id="run-side", min_width=300):
            heading, start, actions, deletion, extension = _lay_out_head()
            going_on = place_form.lay_out()
            body, axis, note = _lay_out_tabs()
    columns, table = _lay_out_table()
    controls.how_this_works()
    search = controls.Search(find, states, columns, search_problem)
    run_id = gr.Textbox(visible=False, elem_id="selected-run-id")
    others = gr.Textbox(visible=False, elem_id="ticked-run-ids")
    fields = SelectionFields(run_id, others, search, axis)
    fingerprint = gr.Textbox(visible=False, elem_id="fingerprint")
    news = gr.Textbox(visible=False, elem_id="news")
    more = {"machine": machine, "heading": heading, **body, "table": table}
    shown = Shown(fingerprint, news, runs, start, actions, more)
    return RunsPage(engine, fields, shown, note, deletion, extension, going_on, problem)


def _lay_out_head() -> tuple[
    gr.HTML, gr.Button, dict[str, gr.Button], controls.Deletion, controls.Extension
]:
    """Which run it is, how far, how well, and what can be done to it."""
    back = escape(tr("All runs"))
    gr.HTML(f'<a class="rs-back" href="{layout.link(RUNS)}">‹ {back}</a>', js_on_load="")
    heading = gr.HTML(elem_id="run-heading", js_on_load="")
    start = gr.Button(
        tr("Start the example"), variant="primary", visible=False, elem_id="start-example", scale=0
    )
    actions = controls.actions()
    return heading, start, actions, controls.deletion("delete"), controls.extension()


def _lay_out_tabs() -> tuple[dict[str, Block], gr.Radio, controls.Note]:
    """The run itself, a tab for each way to look at it."""
    with gr.Tabs(elem_id="run-tabs"):
        with gr.Tab(tr("Curve"), id="curve"):
            axis = gr.Radio(
                [(tr("steps"), STEP), (tr("tokens"), TOKENS), (tr("time"), TIME)],
                value=STEP, label=tr("Draw over"), elem_id="axis", container=False,
            )  # fmt: skip
            loss = curves.large_plot()
            facts = gr.HTML(elem_id="run-facts", js_on_load="")
            now = gr.HTML(elem_id="run-now", js_on_load="")
            small = curves.small_plots()
        with gr.Tab(tr("Evaluation"), id="evaluation"):
            answers = gr.HTML(elem_id="run-samples", js_on_load="")
            classes = live_table(
                label=tr("Scores by class"), file_name="classes.csv", elem_id="run-classes"
            )
        with gr.Tab("ΔW", id="growth"):
            growth_note = gr.HTML(elem_id="growth-note", js_on_load="")
            norms = live_plot(
                label=tr("Norm of the update by module"),
                height=420,
                elem_id="norms",
                only_in_sight=True,
            )
            ranks = live_plot(
                label=tr("Effective rank by module"),
                height=420,
                elem_id="ranks",
                only_in_sight=True,
            )
        with gr.Tab(tr("Details"), id="details"):
            note = controls.note()
            spec = gr.HTML(elem_id="run-spec", js_on_load="")
            command = controls.command()
        with gr.Tab(tr("Files"), id="files"):
            folder = gr.HTML(elem_id="run-folder", js_on_load="")
            files = live_table(label=tr("Files"), file_name="files.csv", elem_id="run-files")
        with gr.Tab(tr("Log"), id="log"):
            log = controls.log()
    parts: dict[str, Block] = {
        "loss": loss, "facts": facts, "now": now, **small, "answers": answers, "classes": classes,
        "norms": norms, "ranks": ranks, "spec": spec, "command": command, "folder": folder,
        "files": files, "log": log, "growth-note": growth_note,
    }  # fmt: skip
    return parts, axis, note


def _lay_out_table() -> tuple[gr.Dropdown, gr.HTML]:
    """The same runs with as many columns as one likes."""
    with gr.Column(elem_id="runs-table"):
        layout.section(
            tr("The runs as a table"), tr("Those that are listed, to sort and to download.")
        )
        table = live_table(label=tr("All runs"), file_name="runs.csv", elem_id="all-runs")
        with layout.folded(tr("Columns")):
            columns = controls.columns_field()
    return columns, table
