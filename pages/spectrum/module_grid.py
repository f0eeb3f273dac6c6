"""A grid of modules: one cell for each, layers down and kinds across, coloured by one measure.

All measures of all cells are sent at once, so that choosing another measure asks nobody. A cell
can be pressed, or reached with the arrow keys; its module's name then comes as an event. Drawn
by `static/module_grid.js`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gradio as gr

from lora_engine.language import tr
from pages.shared.static_files import call_js

OUTSIDE = "outside"
_LAYER = re.compile(r"(?P<before>.*?)\.(?P<layer>\d+)\.(?P<after>.+)")


@dataclass(frozen=True)
class Measure:
    """One number of a module. kind: how it is written; log: coloured by its logarithm."""

    key: str
    title: str
    help: str
    kind: str = "number"
    log: bool = False


@dataclass(frozen=True)
class Cell:
    """One module: its numbers by the measure's key (None for an unknown one), and a sentence."""

    module: str
    numbers: Mapping[str, float | None]
    sentence: str = ""


def module_grid(label: str, *, elem_id: str) -> gr.HTML:
    """Its value is `grid_value(…)`; a `select` event's data goes to `pressed_module`."""
    return gr.HTML(
        value="",
        html_template='<div class="rs-grid"></div>',
        # Gradio looks here for the names of the events that the component sends.
        js_on_load=call_js("spectrum/module_grid.js", "moduleGrid", label) + ' /* "select" */',
        elem_id=elem_id,
        apply_default_css=False,
    )


def pressed_module(event: gr.EventData) -> str:
    """The module whose cell was pressed; untrusted."""
    return str(event._data.get("module", ""))[:500]


def grid_value(
    cells: Sequence[Cell],
    measures: Sequence[Measure],
    *,
    sentence: str,
    notes: Sequence[str] = (),
    state: Mapping[str, str],
    chosen: str = "",
) -> str:
    """Everything the grid shows. state: what the address says, besides the chosen module."""
    places = {cell.module: place(cell.module) for cell in cells}
    several = len({before for before, _, _ in places.values() if before}) > 1
    document = {
        "sentence": sentence,
        "notes": list(notes),
        "state": dict(state),
        "chosen": chosen,
        "measures": [
            {**vars(one), "title": tr(one.title), "help": tr(one.help)} for one in measures
        ],
        "cells": [
            {
                "module": cell.module,
                "row": _row_title(places[cell.module], several),
                "column": places[cell.module][2].removesuffix(".weight"),
                "numbers": dict(cell.numbers),
                "sentence": cell.sentence,
            }
            for cell in cells
        ],
    }
    return json.dumps(document)


def place(module: str) -> tuple[str, str, str]:
    """What stands before the layer's number, the number, and what stands behind it.

    'model.layers.3.mlp.up_proj' -> ('model.layers', '3', 'mlp.up_proj'), and for a module that
    is in no layer 'lm_head' -> ('', 'outside', 'lm_head').
    """
    found = _LAYER.fullmatch(module)
    if found is None:
        return "", OUTSIDE, module
    return found["before"], found["layer"], found["after"]


def _row_title(where: tuple[str, str, str], several: bool) -> str:
    before, layer, _ = where
    if layer == OUTSIDE:
        return OUTSIDE
    return f"{before} {layer}" if several else tr("layer {number}", number=layer)
