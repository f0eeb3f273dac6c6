"""The calculator page's own scripts and styles, and the parts of the page they draw.

Each part is a `gr.HTML` whose value is one JSON document, drawn by `static/calculator.js`.
"""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import FileResponse

from lora_engine.calculator import LayerMatrix
from pages.shared import layout
from pages.shared.live import script_head

STATIC_FILES = Path(__file__).parent / "static"
SCRIPT = STATIC_FILES / "calculator.js"
STYLES = STATIC_FILES / "calculator.css"
CACHE_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}


def add_routes(app: FastAPI) -> None:
    """Serve the script and the styles; their addresses carry their version."""
    for path in (SCRIPT, STYLES):
        _add_file(app, path)


def worked_example(value: str) -> gr.HTML:
    """W, A and B to edit, and what follows from them.

    `.input(handler)` comes when the person changed a number; the value then holds it.
    """
    return gr.HTML(
        value=value,
        html_template='<div class="rs-example"></div>',
        js_on_load='rankscopeCalculator.example(element, props, watch, () => trigger("input"));',
        head=_head(),
        elem_id="example",
        apply_default_css=False,
    )


def layer_map(*, elem_id: str) -> gr.HTML:
    """Trained parameters by module (down) and layer (across); give it `layer_map_value(…)`."""
    return gr.HTML(
        value="",
        html_template='<div class="rs-layer-map"></div>',
        js_on_load="rankscopeCalculator.layerMap(element, props, watch);",
        head=_head(),
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


def _head() -> str:
    """The tags for the `head` of a part."""
    return (
        f'{script_head()}<link rel="stylesheet" href="{_address(STYLES)}">'
        f'<script src="{_address(SCRIPT)}"></script>'
    )


def _address(path: Path) -> str:
    return f"{layout.STATIC}/{path.name}?v={layout.version_of(path)}"


def _add_file(app: FastAPI, path: Path) -> None:
    @app.get(f"{layout.STATIC}/{path.name}")
    def file() -> FileResponse:
        return FileResponse(path, headers=CACHE_FOR_EVER)
