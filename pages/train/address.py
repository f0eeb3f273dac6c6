"""The train page in its address, and the run's name after its rank: both follow the form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.errors import InvalidInput
from lora_engine.spec import spec_from
from pages.shared.alpha_note import RANK
from pages.shared.forms import SpecForm
from pages.shared.static_files import event_js
from pages.shared.train_link import whole_address_of
from pages.shared.wiring import Update, problem_box, wire


def connect(form: SpecForm, address: gr.Textbox, filled: Sequence[Any], used: Any) -> None:
    """The address holds what differs from the opening form, so a reload gives it back.

    address: the hidden field that carries it. filled: Gradio's events that fill fields in for the
    person; used: the one that fills in advice, a rank among it.
    """

    def remember(values: Mapping[Component, Any]) -> Update:
        try:
            spec = spec_from(form.document(values))
        except InvalidInput:  # half typed; said where the run is started
            return {}
        return {address: whole_address_of(spec)}

    changes = [component.input for component in form.components]
    after = [used.then(**name_after_rank(form)), *filled]
    for triggers in (changes, *(event.then for event in after)):
        remembered = wire(
            triggers,
            remember,
            form.inputs,
            [address],
            problem=problem_box(),
            trigger_mode="always_last",
        )
        remembered.then(
            fn=None,
            inputs=[address],
            js=event_js("shared/address.js", "replace"),
            api_visibility="private",
            show_progress="hidden",
        )


def name_after_rank(form: SpecForm) -> dict[str, Any]:
    """What an event does that sets the rank at the end of the run's name, in the browser."""
    rank, name = form.component(RANK), form.component("name")
    return {
        "fn": None,
        "inputs": [rank, name],
        "outputs": [name],
        "js": event_js("train/follow.js", "nameAfterRank"),
        "api_visibility": "private",
        "show_progress": "hidden",
    }
