"""The Train page asks where a run trains only where there is more than this machine, and shows
the fields of several devices where the chosen place has a use for them."""

from __future__ import annotations

import gradio as gr  # noqa: TID251
import pytest

from lora_engine.engine import Engine
from lora_engine.spec import spec_from
from pages.shared.forms import SpecForm
from pages.train.place_fields import CARDS_NEEDED, is_shown_here, place_fields
from tests.page_events import answered

pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")

RAY = {"ray_address": "http://head:8265"}


@pytest.mark.parametrize(
    ("changes", "choices"),
    [
        ({}, None),
        (RAY, ["local", "ray"]),
        ({**RAY, "slurm_host": "here"}, ["local", "ray", "slurm"]),
    ],
)
def test_the_choice_is_there_where_a_cluster_is(settings, changes, choices):
    form = SpecForm()
    with gr.Blocks():
        place_fields(form, Engine(settings.model_copy(update=changes)), 220)
    if choices is None:
        assert form.paths == []
        return
    assert [value for _, value in form.component("launcher", gr.Dropdown).choices] == choices
    values = {form.component("launcher"): "ray", form.component("resources.gpus"): 2}
    defaults = {component: component.value for component in form.components}
    spec = spec_from(form.document({**defaults, **values}))
    assert (spec.launcher, spec.resources.gpus, spec.resources.memory_gib) == ("ray", 2, None)


@pytest.mark.parametrize(
    ("launcher", "devices", "shown"),
    [
        ("local", 1, set()),
        ("slurm", 1, set(CARDS_NEEDED)),
        ("local", 4, {"optimization.devices"}),  # what is sent is seen
    ],
)
def test_fields_of_several_devices_follow_the_place(settings, launcher, devices, shown):
    engine = Engine(settings.model_copy(update={"slurm_host": "here", "device": "cpu"}))
    form = SpecForm()
    with gr.Blocks() as page:
        for path in CARDS_NEEDED:
            form.field(path, visible=is_shown_here(path, engine))
        place_fields(form, engine, 220)
    assert not any(form.component(path).visible for path in CARDS_NEEDED)
    (event,) = [one for one in page.fns.values() if one.name == "follow_place"]
    values = {component: component.value for component in form.components}
    values |= {form.component("launcher"): launcher}
    values |= {form.component("optimization.devices"): devices}
    changed = answered(page, event, values)
    assert {path for path in CARDS_NEEDED if changed[form.component(path)]["visible"]} == shown
