"""The controls of the runs page: what can be done to a run, the search, the note, the command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import gradio as gr

from lora_engine.runs.service import RunView
from lora_engine.runs.states import OVER, RESUMABLE, RunState
from pages.runs import run_table
from pages.shared import layout
from pages.shared.wiring import problem_box

ACTIONS = 6


@dataclass(frozen=True)
class Actions:
    pause: gr.Button
    resume: gr.Button
    cancel: gr.Button
    earlier: gr.Button
    later: gr.Button
    delete: gr.Button

    @property
    def at_once(self) -> list[gr.Button]:
        """Those that act without a question."""
        return [self.pause, self.resume, self.cancel, self.earlier, self.later]

    @property
    def all(self) -> list[gr.Button]:
        return [*self.at_once, self.delete]


@dataclass(frozen=True)
class Deletion:
    group: gr.Group
    question: gr.HTML
    doomed: gr.Textbox
    sure: gr.Button
    keep: gr.Button


@dataclass(frozen=True)
class Search:
    find: gr.Textbox
    states: gr.Dropdown
    columns: gr.Dropdown
    problem: gr.HTML  # its own: words from the address count as a search, and would empty another


@dataclass(frozen=True)
class Note:
    text: gr.Textbox
    tags: gr.Textbox
    save: gr.Button
    problem: gr.HTML


def actions() -> Actions:
    """Buttons that are there while they can do something."""
    with gr.Row(elem_classes="rs-actions"):
        made = [
            gr.Button(text, visible=False, elem_id=name, min_width=110, scale=0)
            for name, text in (
                ("pause", "Pause"), ("resume", "Resume"), ("cancel", "Cancel"),
                ("earlier", "Start earlier"), ("later", "Start later"), ("delete", "Delete…"),
            )
        ]  # fmt: skip
    return Actions(*made)


def shown_actions(state: RunState, queue: Sequence[str], run_id: str) -> list[gr.Button]:
    """Which of the actions are there, in their order."""
    place = queue.index(run_id) if run_id in queue else None
    going = state in (RunState.QUEUED, RunState.RUNNING)
    return [
        gr.Button(visible=shown)
        for shown in (
            going,
            state in RESUMABLE,
            going or state in (RunState.PAUSING, RunState.CANCELLING),
            place is not None and place > 0,
            place is not None and place < len(queue) - 1,
            state in OVER,
        )
    ]


def deletion() -> Deletion:
    """The question that comes before anything is deleted."""
    with gr.Group(visible=False, elem_id="delete-question") as group:
        question = gr.HTML(js_on_load="")
        doomed = gr.Textbox(visible=False)  # the run that was asked about, whatever is shown since
        with gr.Row():
            sure = gr.Button("Delete for good", variant="stop", elem_id="delete-sure")
            keep = gr.Button("Keep it", elem_id="delete-keep")
    return Deletion(group, question, doomed, sure, keep)


def deletion_question(view: RunView) -> str:
    return (
        f'<p class="rs-run-error">Delete <strong>{escape(view.record.name)}</strong> '
        f"({escape(view.id)}) with its curve, its checkpoints and its adapter? "
        "Nothing brings them back.</p>"
    )


def search() -> Search:
    """What the table shows of all runs."""
    problem = problem_box()
    with gr.Row():
        find = gr.Textbox(
            label="Find", info="Words in the name, note, tags, base model or dataset.",
            elem_id="find", min_width=220,
        )  # fmt: skip
        states = gr.Dropdown(
            [str(state) for state in RunState], value=[], multiselect=True, label="State",
            info="Empty: any.", elem_id="states", min_width=220,
        )  # fmt: skip
    with layout.folded("Columns"):
        columns = gr.Dropdown(
            run_table.choices(), value=list(run_table.DEFAULT), multiselect=True,
            label="Columns", info="Results, and every field of the spec.", elem_id="columns",
        )  # fmt: skip
    return Search(find, states, columns, problem)


def note() -> Note:
    with layout.folded("Note and tags"):
        problem = problem_box()
        text = gr.Textbox(label="Note", lines=3, max_lines=8, elem_id="note")
        tags = gr.Textbox(
            label="Tags", info="Words to search by, separated by commas.", elem_id="tags"
        )
        save = gr.Button("Keep note and tags", size="sm", elem_id="save-note")
    return Note(text, tags, save, problem)


def command() -> gr.Textbox:
    with gr.Accordion("The same run from a terminal", open=False):
        return gr.Textbox(
            label="Command",
            info="Trains with this run's spec, seed and settings, as a new run of the list.",
            lines=2, max_lines=4, interactive=False, buttons=["copy"], elem_id="run-command",
        )  # fmt: skip


def log() -> gr.Textbox:
    with gr.Accordion("Log", open=False):
        return gr.Textbox(
            show_label=False, lines=12, max_lines=12, interactive=False, autoscroll=True,
            elem_id="run-log",
        )  # fmt: skip
