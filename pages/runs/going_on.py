"""Going on with a stopped run elsewhere: at which place, on how many devices, and the start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import gradio as gr
from gradio.components import Component

from lora_engine.engine import Engine
from lora_engine.language import tr
from lora_engine.runs import Place
from pages.runs.components import RunsPage
from pages.runs.place_form import HERE, PLACES
from pages.shared import layout
from pages.shared.questions import wire_taking_back
from pages.shared.wiring import Update, expose, wire


def wire_going_on(page: RunsPage) -> None:
    """A question with the places there are, then the run goes on there."""
    runs, fields, parts, shown = page.engine.runs, page.fields, page.going_on, page.shown
    asked_by_name, asked = parts.asked.items(), list(parts.asked.values())

    def ask_where(values: Mapping[Component, Any]) -> Update:
        return {
            parts.group: gr.Column(visible=True),
            parts.run_id: fields.read(values).shown_run(page.engine),
        }

    def fill_places(run_id: str) -> Update:
        """Once the fields are there: Gradio loses what is said of those that it has not drawn."""
        spec = runs.get(run_id).record.readable_spec()
        names = [(tr(PLACES[name]), name) for name in runs.places_to_go_on(run_id)]
        wanted = spec.resources.model_dump()
        return {
            parts.place: gr.Radio(choices=names, value=spec.launcher),
            parts.devices: spec.optimization.devices,
            **{
                field: gr.Number(value=wanted[name], visible=seen(spec.launcher))
                for name, field in parts.asked.items()
            },
        }

    def seen(place: str) -> bool | Literal["hidden"]:
        return "hidden" if place == HERE else True

    def follow_place(place: str) -> Update:
        return {field: gr.Number(visible=seen(place)) for field in asked}

    def go_on(values: Mapping[Component, Any]) -> Update:
        place = values[parts.place] or HERE
        # an empty Number that was out of sight says 0
        resources = {name: layout.whole(values[field]) or None for name, field in asked_by_name}
        resources["gpus"] = resources["gpus"] or 0
        devices = layout.whole(values[parts.devices])
        runs.resume(values[parts.run_id], Place(place, devices, {} if place == HERE else resources))
        selection = fields.read(values)
        return {parts.group: gr.Column(visible=False), **page.show(selection)}

    asking, question = [shown.actions["move"].click], [parts.group, parts.run_id]
    is_asked = wire(asking, ask_where, fields.inputs, question, problem=page.problem)
    choices = [parts.place, parts.devices, *asked]
    wire(is_asked.then, fill_places, [parts.run_id], choices, problem=parts.problem)
    wire([parts.place.input], follow_place, [parts.place], asked, problem=parts.problem)
    wire_taking_back(parts.leave.click, parts.group, parts.run_id)
    inputs = {parts.run_id, parts.place, parts.devices, *asked, *fields.inputs}
    outputs = [parts.group, *shown.outputs]
    wire([parts.start.click], go_on, inputs, outputs, problem=parts.problem)


def offer(engine: Engine) -> None:
    """For gradio_client, as the command `resume`. Call it inside the page's Blocks."""

    def resume(
        run: str,
        on: str | None = None,
        devices: int | None = None,
        cpus: int | None = None,
        gpus: int | None = None,
        memory_gib: float | None = None,
    ) -> dict:
        """Go on with a stopped run from its newest checkpoint: where it was, or at another place
        (local, ray, slurm), or on another number of devices; answers with its id and state."""
        given = {"cpus": cpus, "gpus": gpus, "memory_gib": memory_gib}
        wanted = {name: value for name, value in given.items() if value is not None}
        view = engine.runs.resume(run, Place(on, devices, wanted))
        return {"id": view.id, "state": str(view.record.state)}

    expose(resume, api_name="resume")
