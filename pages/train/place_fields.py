"""Where the run trains, what it asks for there, and the fields that only some places can use.

The fields of several devices stand with those of the training; they are there where this machine
has the devices, or the run goes to a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.engine import Engine
from lora_engine.language import tr
from lora_engine.runs import configured_launchers
from lora_engine.spec import RunSpec
from lora_engine.training import this_machine
from pages.shared import layout
from pages.shared.forms import SpecForm
from pages.shared.spec_fields import info_of
from pages.shared.wiring import Update, problem_box, wire

LAUNCHER, HERE = "launcher", "local"
CARDS_NEEDED: Mapping[str, int] = {
    "optimization.offload_activations": 1,
    "optimization.devices": 2,
    "optimization.sharding": 2,
}
"""By path: how many cards this machine has where the field is there for a run of its own."""


def is_shown_here(path: str, engine: Engine) -> bool:
    """Whether a field is there for a run of this machine."""
    if path not in CARDS_NEEDED:
        return True
    machine = this_machine(engine.settings)
    return (machine.devices if machine.has_gpu else 0) >= CARDS_NEEDED[path]


def place_fields(form: SpecForm, engine: Engine, width: int) -> None:
    """Where the run trains and what it asks for there, where there is more than this machine.

    The fields of `CARDS_NEEDED` are made before, and follow the choice.
    """
    places = configured_launchers(engine.settings)
    if len(places) == 1:
        return
    with layout.folded(tr("Where it trains"), "place"):
        form.field(LAUNCHER, choices=list(places))
        with gr.Row(elem_classes="rs-fields"):
            for name in ("cpus", "gpus", "memory_gib"):
                form.field(f"resources.{name}", min_width=width)
        problem = problem_box()
    launcher = form.component(LAUNCHER)
    fields = {path: form.component(path) for path in CARDS_NEEDED if path in form.paths}

    def follow_place(values: Mapping[Component, Any]) -> Update:
        """A field that was changed stays in sight: it is sent along with the others."""
        is_elsewhere = values[launcher] != HERE
        return {
            field: gr.update(
                visible=is_elsewhere
                or is_shown_here(path, engine)
                or values[field] != info_of(RunSpec, path).default
            )
            for path, field in fields.items()
        }

    inputs: set[Component] = {launcher, *fields.values()}
    wire([launcher.change], follow_place, inputs, list(fields.values()), problem=problem)
