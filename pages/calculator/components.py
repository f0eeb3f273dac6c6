"""The parts of the calculator page that Gradio has no component for, and their values.

Each is a `gr.HTML` whose value is one JSON document, drawn by `static/calculator.js`.
"""

from __future__ import annotations

import json

import gradio as gr

from lora_engine.calculator import LayerMatrix
from pages.shared.static_files import call_js

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
