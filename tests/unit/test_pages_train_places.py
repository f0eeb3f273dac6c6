"""The Train page asks where a run trains only where there is more than this machine."""

from __future__ import annotations

import gradio as gr  # noqa: TID251
import pytest

from lora_engine.engine import Engine
from lora_engine.spec import spec_from
from pages.shared.forms import SpecForm
from pages.train.form_fields import place_fields

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
        place_fields(form, Engine(settings.model_copy(update=changes)))
    if choices is None:
        assert form.paths == []
        return
    assert [value for _, value in form.component("launcher", gr.Dropdown).choices] == choices
    values = {form.component("launcher"): "ray", form.component("resources.gpus"): 2}
    defaults = {component: component.value for component in form.components}
    spec = spec_from(form.document({**defaults, **values}))
    assert (spec.launcher, spec.resources.gpus, spec.resources.memory_gib) == ("ray", 2, None)
