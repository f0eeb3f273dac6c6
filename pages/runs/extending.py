"""Extending the run that is shown: by how much, what it will do in words, and the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr
from gradio.components import Component

from pages.runs.components import RunsPage
from pages.shared import layout
from pages.shared.questions import wire_taking_back
from pages.shared.wiring import Update, wire

EPOCHS = 1.0  # what is offered first


def wire_extension(page: RunsPage) -> None:
    """A question with the length to choose, then a new run that is shown."""
    runs, fields, extension = page.engine.runs, page.fields, page.extension
    lengths = [extension.epochs, extension.steps]

    def words_of(run_id: str, epochs: float | None, steps: float | None) -> Update:
        plan = runs.plan_extension(run_id, epochs=epochs, steps=layout.whole(steps))
        return {extension.words: f'<p class="rs-note">{escape(plan.words)}</p>'}

    def ask_to_extend(values: Mapping[Component, Any]) -> Update:
        return {
            extension.group: gr.Column(visible=True),
            extension.run_id: fields.read(values).shown_run(page.engine),
        }

    def fill_lengths(run_id: str) -> Update:
        """Once the fields are there: Gradio loses what is said of those that it has not drawn."""
        return {
            extension.epochs: EPOCHS,
            extension.steps: None,
            **words_of(run_id, EPOCHS, None),
        }

    def by_epochs(run_id: str, epochs: float | None) -> Update:
        return words_of(run_id, epochs, None)

    def by_steps(run_id: str, steps: float | None) -> Update:
        return words_of(run_id, None, steps)

    def leave_out_steps() -> Update:
        return {extension.steps: None}

    def leave_out_epochs() -> Update:
        return {extension.epochs: None}

    def extend_run(values: Mapping[Component, Any]) -> Update:
        epochs, steps = values[extension.epochs], layout.whole(values[extension.steps])
        view = runs.extend(values[extension.run_id], epochs=epochs, steps=steps)
        selection = replace(fields.read(values), run_id=view.id)
        return {extension.group: gr.Column(visible=False), **page.show_run(selection)}

    asking, question = [page.shown.actions["extend"].click], [extension.group, extension.run_id]
    problem, told = extension.problem, [extension.words]
    is_asked = wire(asking, ask_to_extend, fields.inputs, question, problem=page.problem)
    wire(is_asked.then, fill_lengths, [extension.run_id], [*told, *lengths], problem=problem)
    for length, other, handler, leave_out in (
        (extension.epochs, extension.steps, by_epochs, leave_out_steps),
        (extension.steps, extension.epochs, by_steps, leave_out_epochs),
    ):
        inputs = [extension.run_id, length]
        wire([length.input], leave_out, [], [other], problem=page.problem)
        wire([length.input], handler, inputs, told, problem=problem, follows=True)
    wire_taking_back(extension.leave.click, extension.group, extension.run_id)
    extended = wire(
        [extension.start.click],
        extend_run,
        {extension.run_id, *lengths, *fields.inputs},
        [extension.group, *page.run_fields, *page.shown.outputs],
        problem=extension.problem,
    )
    extended.then(**fields.remember)
