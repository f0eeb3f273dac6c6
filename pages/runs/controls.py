"""The controls of the runs page: what can be done to a run, the search, the note, the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import gradio as gr

from lora_engine.language import tr, translatable
from lora_engine.runs import OVER, RESUMABLE, RunState, RunView, state_name
from lora_engine.spec import ExtensionSpec
from pages.runs import run_table
from pages.shared import layout
from pages.shared.spec_fields import help_text
from pages.shared.wiring import field_id, problem_box

ACTIONS = {
    "pause": translatable("Pause"),
    "resume": translatable("Resume"),
    "move": translatable("Resume elsewhere…"),
    "cancel": translatable("Cancel"),
    "extend": translatable("Extend…"),
    "earlier": translatable("Start earlier"),
    "later": translatable("Start later"),
    "delete": translatable("Delete…"),
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
    """Which runs are listed, and what the table tells of them."""

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
    with gr.Row(elem_classes="rs-actions", elem_id="run-actions"):
        return {
            name: gr.Button(tr(text), visible=False, elem_id=name, min_width=90, scale=0, size="sm")
            for name, text in ACTIONS.items()
        }


def possible_actions(
    state: RunState, queue: Sequence[str], run_id: str, has_places: bool = False
) -> frozenset[str]:
    """The names of the actions that can be done to a run. has_places: it could go on at another
    place, or on another number of devices."""
    place = queue.index(run_id) if run_id in queue else None
    going = state in (RunState.QUEUED, RunState.RUNNING)
    possible = {
        "pause": going,
        "resume": state in RESUMABLE,
        "move": state in RESUMABLE and has_places,
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
            sure = gr.Button(tr("Delete for good"), variant="stop", elem_id=f"{prefix}-sure")
            keep = gr.Button(tr("Keep it"), elem_id=f"{prefix}-keep")
    return Deletion(group, question, asked_id, sure, keep)


def deletion_question(view: RunView) -> str:
    words = tr(
        "Delete {name} ({id}) with its curve, its checkpoints and its adapter? Nothing brings "
        "them back.",
        name=f"“{view.record.name}”",
        id=view.id,
    )
    return f'<p class="rs-run-error">{escape(words)}</p>'


def extension() -> Extension:
    """By how much, and in words what the steps and the learning rate will be."""
    with gr.Column(visible=False, elem_id="extension") as group:
        run_id = gr.Textbox(visible=False, elem_id="extend-run-id")
        with gr.Row():
            epochs, steps = _length("epochs"), _length("steps")
        words = gr.HTML(js_on_load="", elem_id="extension-words")
        problem = problem_box()
        with gr.Row():
            start = gr.Button(tr("Train further"), variant="primary", elem_id="extend-start")
            leave = gr.Button(tr("Leave it"), elem_id="extend-leave")
    return Extension(group, run_id, epochs, steps, words, start, leave, problem)


def _length(name: str) -> gr.Number:
    info = ExtensionSpec.model_fields[name]
    return gr.Number(
        label=tr(info.title or name), info=help_text(info), elem_id=field_id(name), min_width=220
    )


def find() -> gr.Textbox:
    """Over the list."""
    return gr.Textbox(
        label=tr("Find"), elem_id="find", min_width=120,
        placeholder=tr("name, tag, data"),
    )  # fmt: skip


def states_field() -> gr.Dropdown:
    """Over the list, too."""
    return gr.Dropdown(
        [(state_name(state), str(state)) for state in RunState], value=[], multiselect=True,
        label=tr("State"), elem_id="states", min_width=120,
    )  # fmt: skip


def columns_field() -> gr.Dropdown:
    """Over the table."""
    return gr.Dropdown(
        run_table.choices(), value=list(run_table.DEFAULT), multiselect=True, elem_id="columns",
        label=tr("Columns"), info=tr("Results, and every field of the spec."),
    )  # fmt: skip


def note() -> Note:
    problem = problem_box()
    text = gr.Textbox(label=tr("Note"), lines=2, max_lines=8, elem_id="note")
    tags = gr.Textbox(
        label=tr("Tags"), info=tr("Words to search by, separated by commas."), elem_id="tags"
    )
    save = gr.Button(tr("Keep note and tags"), size="sm", elem_id="save-note", scale=0)
    return Note(text, tags, save, problem)


def command() -> gr.Textbox:
    return gr.Textbox(
        label=tr("The same run from a terminal"),
        info=tr("Trains with this run's spec, seed and settings, as a new run of the list."),
        lines=2, max_lines=4, interactive=False, buttons=["copy"], elem_id="run-command",
    )  # fmt: skip


def log() -> gr.Textbox:
    return gr.Textbox(
        label=tr("The end of the worker's log"), lines=16, max_lines=16, interactive=False,
        autoscroll=True, elem_id="run-log",
    )  # fmt: skip


def how_this_works() -> gr.Accordion:
    return layout.how_this_works(tr(HELP))


HELP = translatable(r"""
**Loss** is the mean of $-\log p$ over the supervised tokens of a step, in nats a token; the
perplexity is $e^L$ for a loss of $L$, so a loss of 0.69 is the uncertainty of a fair coin at every
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
""")
