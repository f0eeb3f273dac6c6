"""The controls of the runs page: what can be done to a run, the search, the note, the command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import gradio as gr

from lora_engine.runs import OVER, RESUMABLE, RunState, RunView
from lora_engine.spec import ExtensionSpec
from pages.runs import run_table
from pages.shared import layout
from pages.shared.spec_fields import help_text
from pages.shared.wiring import field_id, problem_box

ACTIONS = {
    "pause": "Pause",
    "resume": "Resume",
    "cancel": "Cancel",
    "extend": "Extend…",
    "earlier": "Start earlier",
    "later": "Start later",
    "delete": "Delete…",
}
"""What can be done to a run: the buttons' texts by element id."""


@dataclass(frozen=True)
class Deletion:
    """A question about the run or sweep `asked_id`, whichever is shown since; hidden until it is
    asked."""

    group: gr.Column
    question: gr.HTML
    asked_id: gr.Textbox
    sure: gr.Button
    keep: gr.Button


@dataclass(frozen=True)
class Extension:
    """By how much the finished run `run_id` is extended; hidden until it is asked for."""

    group: gr.Column
    run_id: gr.Textbox
    epochs: gr.Number
    steps: gr.Number
    words: gr.HTML
    start: gr.Button
    leave: gr.Button
    problem: gr.HTML


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


def actions() -> dict[str, gr.Button]:
    """The buttons of `ACTIONS` by name, each there while it can do something."""
    with gr.Row(elem_classes="rs-actions"):
        return {
            name: gr.Button(text, visible=False, elem_id=name, min_width=110, scale=0)
            for name, text in ACTIONS.items()
        }


def possible_actions(state: RunState, queue: Sequence[str], run_id: str) -> frozenset[str]:
    """The names of the actions that can be done to a run."""
    place = queue.index(run_id) if run_id in queue else None
    going = state in (RunState.QUEUED, RunState.RUNNING)
    possible = {
        "pause": going,
        "resume": state in RESUMABLE,
        "cancel": going or state in (RunState.PAUSING, RunState.CANCELLING),
        "earlier": place is not None and place > 0,
        "later": place is not None and place < len(queue) - 1,
        "extend": state is RunState.FINISHED,
        "delete": state in OVER,
    }
    return frozenset(name for name, is_possible in possible.items() if is_possible)


def deletion(prefix: str) -> Deletion:
    """The question that comes before anything is deleted. prefix: begins the element ids."""
    with gr.Column(visible=False, elem_id=f"{prefix}-question") as group:
        question = gr.HTML(js_on_load="")
        asked_id = gr.Textbox(visible=False, elem_id=f"{prefix}-asked-id")
        with gr.Row():
            sure = gr.Button("Delete for good", variant="stop", elem_id=f"{prefix}-sure")
            keep = gr.Button("Keep it", elem_id=f"{prefix}-keep")
    return Deletion(group, question, asked_id, sure, keep)


def deletion_question(view: RunView) -> str:
    return (
        f'<p class="rs-run-error">Delete <strong>{escape(view.record.name)}</strong> '
        f"({escape(view.id)}) with its curve, its checkpoints and its adapter? "
        "Nothing brings them back.</p>"
    )


def extension() -> Extension:
    """By how much, and in words what the steps and the learning rate will be."""
    with gr.Column(visible=False, elem_id="extension") as group:
        run_id = gr.Textbox(visible=False, elem_id="extend-run-id")
        with gr.Row():
            epochs, steps = _length("epochs"), _length("steps")
        words = gr.HTML(js_on_load="", elem_id="extension-words")
        problem = problem_box()
        with gr.Row():
            start = gr.Button("Train further", variant="primary", elem_id="extend-start")
            leave = gr.Button("Leave it", elem_id="extend-leave")
    return Extension(group, run_id, epochs, steps, words, start, leave, problem)


def _length(name: str) -> gr.Number:
    info = ExtensionSpec.model_fields[name]
    return gr.Number(label=info.title, info=help_text(info), elem_id=field_id(name), min_width=220)


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
