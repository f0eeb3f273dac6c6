"""The question where a stopped run goes on: its parts, laid out. Knows nothing of events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import gradio as gr

from lora_engine.language import tr, translatable
from lora_engine.spec import RunSpec
from pages.shared.spec_fields import help_text, info_of
from pages.shared.wiring import field_id, problem_box

HERE = "local"
DEVICES = "optimization.devices"
ASKED = ("cpus", "gpus", "memory_gib")  # of a cluster, in `resources`
PLACES = {HERE: translatable("this machine"), "ray": "Ray", "slurm": "Slurm"}


@dataclass(frozen=True)
class GoingOn:
    """Where the stopped run `run_id` goes on; hidden until it is asked for. asked: the fields of
    what is asked of a cluster, by their names in the spec."""

    group: gr.Column
    run_id: gr.Textbox
    place: gr.Radio
    devices: gr.Number
    asked: Mapping[str, gr.Number]
    start: gr.Button
    leave: gr.Button
    problem: gr.HTML


def lay_out() -> GoingOn:
    with gr.Column(visible=False, elem_id="going-on") as group:
        run_id = gr.Textbox(visible=False)
        with gr.Row():
            place = gr.Radio(
                [], label=tr("Where it goes on"), elem_id="going-on-place", min_width=220
            )
            devices = _number(DEVICES)
        with gr.Row():
            asked = {name: _number(f"resources.{name}") for name in ASKED}
        words = tr(
            "It goes on from its newest checkpoint. On other hardware its losses differ by "
            "rounding; on another number of devices dropout drops other numbers."
        )
        gr.HTML(f'<p class="rs-note">{words}</p>', js_on_load="")
        problem = problem_box()
        with gr.Row():
            start = gr.Button(tr("Resume there"), variant="primary", elem_id="going-on-start")
            leave = gr.Button(tr("Leave it stopped"), elem_id="going-on-leave")
    return GoingOn(group, run_id, place, devices, asked, start, leave, problem)


def _number(path: str) -> gr.Number:
    info = info_of(RunSpec, path)
    return gr.Number(
        label=tr(info.title or path),
        info=help_text(info),
        elem_id=field_id(path),
        min_width=160,
        visible=True if path == DEVICES else "hidden",
    )
