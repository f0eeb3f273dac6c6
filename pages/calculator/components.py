"""The parts of the calculator page that Gradio has no component for, and their values.

Each is a `gr.HTML` whose value is one JSON document, drawn by `static/calculator.js`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import gradio as gr

from lora_engine.calculator import AvailableModule, LayerMatrix
from lora_engine.language import tr
from pages.shared.static_files import call_js, event_js

SCRIPT = "calculator/calculator.js"


def worked_example(value: str) -> gr.HTML:
    """W, A and B to edit, and what follows from them.

    `.input(handler)` comes when the person changed a number; the value then holds it.
    """
    return gr.HTML(
        value=value,
        html_template='<div class="rs-example"></div>',
        js_on_load=call_js(SCRIPT, "example"),
        elem_id="example",
        apply_default_css=False,
    )


def module_ticks(*, elem_id: str) -> gr.HTML:
    """The modules of a model, to tick; give it `module_ticks_value(…)`.

    `.input(handler)` comes when the person ticked; `targets_ticked_js` says what is ticked.
    """
    return gr.HTML(
        value="",
        html_template='<div class="rs-ticks"></div>',
        js_on_load=call_js(SCRIPT, "ticks"),
        elem_id=elem_id,
        apply_default_css=False,
    )


def module_ticks_value(modules: Sequence[AvailableModule], targets: Sequence[str] = ()) -> str:
    """The JSON for the ticks: each kind with its shape, its layers, and the targets it means.

    targets: the names the person gave, in whose order the chosen ones stand. They stand in it too
    (`asked`): by them the ticks know an answer to what was asked before the person's last tick.
    """
    chosen = [index for index, item in enumerate(modules) if item.chosen]
    named = {name: place for place, name in enumerate(targets)}
    chosen.sort(key=lambda index: named.get(modules[index].targets[0], len(named)))
    listed = [{"label": _tick_label(item), "targets": list(item.targets)} for item in modules]
    return json.dumps({"modules": listed, "ticked": chosen, "asked": list(targets)})


def targets_ticked_js() -> str:
    """JavaScript for `ticks.input(fn=None, inputs=[ticks], outputs=[targets], js=…)`."""
    return event_js(SCRIPT, "targetsTicked")


def _tick_label(item: AvailableModule) -> str:
    size = f"{item.out_features:,} × {item.in_features:,}"
    if item.layers <= 1:
        return f"{item.name} · {size}"
    return tr("{name} · {size} in {count} layers", name=item.name, size=size, count=item.layers)


def layer_map(*, elem_id: str) -> gr.HTML:
    """Trained parameters by module (down) and layer (across); give it `layer_map_value(…)`."""
    return gr.HTML(
        value="",
        html_template='<div class="rs-layer-map"></div>',
        js_on_load=call_js(SCRIPT, "layerMap"),
        elem_id=elem_id,
        apply_default_css=False,
    )


def layer_map_value(matrix: LayerMatrix) -> str:
    """The JSON for a layer map: a row of numbers for each kind of module."""
    several = len({layer.rpartition(".")[0] for layer in matrix.layers}) > 1
    names = [layer if several else layer.rpartition(".")[2] for layer in matrix.layers]
    rows = [
        {"module": module, "parameters": [layer[i] for layer in matrix.parameters]}
        for i, module in enumerate(matrix.modules)
    ]
    return json.dumps({"layers": names, "rows": rows})
