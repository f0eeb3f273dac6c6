"""The runs page: every run in a table, and one of them live, with others drawn beside it.

Which run is shown, which are drawn with it and what the table is filtered by stand in the address
(`/runs?run=…&with=…&find=…`), so a link or a reload shows the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.engine import Engine
from lora_engine.errors import NotFound
from lora_engine.spec import recipe_spec
from pages import RUNS
from pages.runs import controls, curves, run_table, samples_and_updates
from pages.runs.run_figures import STEP, TIME, TOKENS
from pages.runs.view import (
    Asked,
    asked_in,
    found_or_newest,
    mark_of,
    newest,
    others_in,
    page,
    written,
)
from pages.shared import layout
from pages.shared.live import live_table, ticked_in
from pages.shared.wiring import expose, problem_box, problem_value, wire

REFRESH_S = 1.0
EXAMPLE = "pirate"
ADDRESS = ("run", "with", "find", "state", "over")

# An address that names a run which is not there gets the one that is shown. Without a mark the page
# has not opened yet, and an address that names none goes on meaning the newest.
NAME_WHAT_IS_SHOWN = """(mark, shown) => {
    const url = new URL(window.location.href), named = url.searchParams.get("run");
    if (!mark || !named || named === shown) return [];
    if (shown) url.searchParams.set("run", shown);
    else url.searchParams.delete("run");
    history.replaceState(history.state, "", url);
    return [];
}"""

HELP = r"""
**Loss** is the mean of $-\log p$ over the supervised tokens of a step, in nats a token; the
perplexity is $e^{\text{loss}}$, so a loss of 0.69 is the uncertainty of a fair coin at every
token. **Evaluation loss** is the same over rows that are never trained on: while both fall the
run learns; when evaluation turns up while training falls, it memorises. The thin line is the loss
as it came, the thick one its exponential moving average, weight 0.9.

Tokens a second counts every token read, padding left out. Time left is the mean time a step so
far, times the steps to go. Memory is the worker's own: resident memory on a processor, the
largest allocation on a GPU.

**Pause** finishes the step, saves a checkpoint and stops; **resume** goes on from there with the
very numbers that the uninterrupted run would have had. **Cancel** saves too, but is not waited
for longer than eight seconds. A run that is over can be deleted, with its checkpoints and its
adapter.
"""


@dataclass(frozen=True)
class Parts:
    """The page's components. `asked` are the inputs of an `Asked`, `outputs` those of `page`."""

    start: gr.Button
    actions: controls.Actions
    deletion: controls.Deletion
    search: controls.Search
    note: controls.Note
    inside: samples_and_updates.Inside
    axis: gr.Radio
    table: gr.HTML
    problem: gr.HTML
    chosen: gr.Textbox
    ticked: gr.Textbox
    mark: gr.Textbox
    outputs: list[Component]

    @property
    def asked(self) -> list[Component]:
        search = self.search
        return [self.chosen, self.ticked, search.find, search.states, search.columns, self.axis]

    @property
    def remembered(self) -> dict[str, Any]:
        """For `.then(**…)`: what is asked is written into the address."""
        inputs = [self.chosen, self.ticked, self.search.find, self.search.states, self.axis]
        js = layout.remember_js(*ADDRESS)
        return {"fn": None, "inputs": inputs, "js": js, "api_visibility": "private"}

    @property
    def named(self) -> dict[str, Any]:
        """For `.then(**…)`: an address that names a run names the one that is shown."""
        inputs = [self.mark, self.chosen]
        return {
            "fn": None, "inputs": inputs, "js": NAME_WHAT_IS_SHOWN, "api_visibility": "private",
        }  # fmt: skip


def build(engine: Engine) -> gr.Blocks:
    with layout.shell(RUNS) as blocks:
        parts = _lay_out()
        _wire_looking(engine, parts, blocks)
        _wire_acting(engine, parts)
        _wire_deleting(engine, parts)
        expose(run_table.runs_endpoint(engine), api_name="runs")
    return blocks


def _lay_out() -> Parts:
    heading = gr.HTML(elem_id="run-heading")
    start = gr.Button("Start the example", variant="primary", visible=False, elem_id="start")
    actions = controls.actions()
    problem = problem_box()
    deletion = controls.deletion()
    plots = curves.plots()
    axis = gr.Radio([STEP, TOKENS, TIME], value=STEP, label="Draw over", elem_id="axis")
    facts = gr.HTML(elem_id="run-facts")
    inside = samples_and_updates.parts()
    note = controls.note()
    command = controls.command()
    log = controls.log()
    layout.section("All runs", f"Tick up to {curves.MOST - 1} to draw them with this one.")
    search = controls.search()
    table = live_table(label="All runs", file_name="runs.csv", elem_id="all-runs")
    layout.how_this_works(HELP)
    chosen, ticked, mark = (gr.Textbox(visible=False) for _ in range(3))
    buttons = [start, *actions.all]
    outputs = [mark, heading, *plots, facts, table, log, command, *buttons]
    return Parts(
        start, actions, deletion, search, note, inside, axis, table, problem, chosen, ticked, mark,
        outputs,
    )  # fmt: skip


@dataclass(frozen=True)
class Looking:
    """The handlers that change what is shown; nothing is done to a run."""

    engine: Engine
    shown_run: int  # how many outputs come before those of `page`

    def open_page(self, request: gr.Request) -> tuple:
        asked, missing = found_or_newest(self.engine, asked_in(self.engine, request))
        given = (asked.ticked, asked.find, list(asked.states), asked.axis)
        return (*given, *self.run_parts(asked, missing), *page(self.engine, asked))

    def tick(self, last: str | None, doomed: str | None, *values: Any) -> tuple:
        if not last:  # before the page has opened nothing is known of what the address asks for
            return gr.skip()
        before = Asked(*values)
        asked, missing = found_or_newest(self.engine, before)
        if missing is not None:
            # Who deletes it here, just now, need not be told.
            told = None if before.run_id == doomed else missing
            return (*self.run_parts(asked, told), *page(self.engine, asked))
        if last == mark_of(self.engine, asked):
            return gr.skip()
        return (*[gr.skip()] * self.shown_run, *page(self.engine, asked))

    def run_parts(self, asked: Asked, missing: NotFound | None) -> tuple:
        """The values of the outputs before those of `page`: which run, its note, its problem."""
        problem = gr.skip() if missing is None else problem_value(missing)
        return (asked.run_id, *written(self.engine, asked.run_id), problem)

    def tick_row(self, table: str, *values: Any) -> tuple:
        others = ",".join(view.id for view in others_in(self.engine, ",".join(ticked_in(table))))
        return (others, *page(self.engine, replace(Asked(*values), ticked=others)))

    def show(self, *values: Any) -> tuple:
        return page(self.engine, Asked(*values))

    def look_inside(self, last: str | None, run_id: str | None) -> tuple:
        if not run_id or samples_and_updates.mark_of(self.engine, run_id) == last:
            return gr.skip()
        return samples_and_updates.values(self.engine, run_id)


def _wire_looking(engine: Engine, parts: Parts, blocks: gr.Blocks) -> None:
    """What is shown changes: on opening, by itself, by a tick, by the search."""
    search, note, outputs, inside = parts.search, parts.note, parts.outputs, parts.inside
    shown_run = [parts.chosen, note.text, note.tags, parts.problem]
    act = Looking(engine, len(shown_run))
    opened = [parts.ticked, search.find, search.states, parts.axis, *shown_run, *outputs]
    opening = wire([blocks.load], act.open_page, [], opened, problem=problem_box())
    opening.then(**parts.named)
    timer, timer_problem = gr.Timer(REFRESH_S), problem_box()
    looked = wire(
        [timer.tick], act.tick, [parts.mark, parts.deletion.doomed, *parts.asked],
        [*shown_run, *outputs], problem=timer_problem, queue=False,
    )  # fmt: skip
    looked.then(**parts.named)
    wire(
        [timer.tick], act.look_inside, [inside.mark, parts.chosen], inside.outputs,
        problem=timer_problem, queue=False,
    )  # fmt: skip
    ticked = wire(
        [parts.table.input], act.tick_row, [parts.table, *parts.asked], [parts.ticked, *outputs],
        problem=parts.problem, trigger_mode="always_last",
    )  # fmt: skip
    ticked.then(**parts.remembered)
    changes = [search.find.change, search.states.input, search.columns.input, parts.axis.input]
    changed = wire(
        changes, act.show, parts.asked, outputs, problem=search.problem, trigger_mode="always_last"
    )
    changed.then(**parts.remembered)


def _wire_acting(engine: Engine, parts: Parts) -> None:
    """Something is done to the run that is shown."""

    def start_example(*values: Any) -> tuple:
        run_id = engine.runs.submit(recipe_spec(EXAMPLE)).id
        return (run_id, *page(engine, replace(Asked(*values), run_id=run_id)))

    def pause_run(*values: Any) -> tuple:
        return act(engine.runs.pause, values)

    def resume_run(*values: Any) -> tuple:
        return act(engine.runs.resume, values)

    def cancel_run(*values: Any) -> tuple:
        return act(engine.runs.cancel, values)

    def start_earlier(*values: Any) -> tuple:
        return act(lambda run_id: engine.runs.move_in_queue(run_id, -1), values)

    def start_later(*values: Any) -> tuple:
        return act(lambda run_id: engine.runs.move_in_queue(run_id, 1), values)

    def write_note(text: str, tags: str, *values: Any) -> tuple:
        return act(lambda run_id: engine.runs.annotate(run_id, text, tags.split(",")), values)

    def act(action, values: tuple) -> tuple:
        asked = Asked(*values)
        action(asked.shown(engine))
        return page(engine, asked)

    actions, note, problem = parts.actions, parts.note, parts.problem
    started = wire(
        [parts.start.click], start_example, parts.asked, [parts.chosen, *parts.outputs],
        problem=problem,
    )  # fmt: skip
    started.then(**parts.remembered)
    handlers = (pause_run, resume_run, cancel_run, start_earlier, start_later)
    for button, handler in zip(actions.at_once, handlers, strict=True):
        wire([button.click], handler, parts.asked, parts.outputs, problem=problem)
    wire(
        [note.save.click], write_note, [note.text, note.tags, *parts.asked], parts.outputs,
        problem=note.problem,
    )  # fmt: skip


def _wire_deleting(engine: Engine, parts: Parts) -> None:
    """A question, then for good."""

    def ask_to_delete(*values: Any) -> tuple:
        view = engine.runs.get(Asked(*values).shown(engine))
        return gr.Group(visible=True), controls.deletion_question(view), view.id

    def keep_run() -> tuple:
        return gr.Group(visible=False), ""

    def delete_run(doomed: str, *values: Any) -> tuple:
        engine.runs.delete(doomed)
        left = replace(Asked(*values), run_id=newest(engine))
        notes = written(engine, left.run_id)
        return (left.run_id, gr.Group(visible=False), *notes, *page(engine, left))

    deletion, problem = parts.deletion, parts.problem
    question = [deletion.group, deletion.question, deletion.doomed]
    wire([parts.actions.delete.click], ask_to_delete, parts.asked, question, problem=problem)
    kept = [deletion.group, deletion.doomed]
    wire([deletion.keep.click], keep_run, [], kept, problem=problem)
    deleted = wire(
        [deletion.sure.click], delete_run, [deletion.doomed, *parts.asked],
        [parts.chosen, deletion.group, parts.note.text, parts.note.tags, *parts.outputs],
        problem=problem,
    )  # fmt: skip
    deleted.then(**parts.remembered)
