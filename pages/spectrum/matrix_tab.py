"""The tab "A matrix": the ways to bring one, each wired to its opening.

The matrix stays on the shelf by an id; k moves in the browser alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import gradio as gr

from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.spectrum.samples import TEACHING
from lora_engine.weights.matrix import TensorInfo
from pages.shared import layout
from pages.shared.wiring import problem_box, wire
from pages.spectrum.long_work import wire_stop
from pages.spectrum.matrix_source import (
    START_SAMPLE,
    Wanted,
    flatten_choices,
    matrices_of,
    model_folder,
    sample_choices,
    tab_of,
    tensor_choices,
    wanted_from,
    wanted_sample,
)
from pages.spectrum.matrix_view import matrix_view
from pages.spectrum.opening import Opener

FILE_TYPES = [".npy", ".npz", ".csv", ".tsv", ".txt", ".safetensors", ".pt", ".pth", ".bin",
              ".png", ".jpg", ".jpeg"]  # fmt: skip
IS_DRAWN = "() => document.querySelector('#matrix-view .rs-matrix-head h2') ? 'yes' : ''"
START_TEXT = "\n".join(" ".join(map(str, row)) for row in TEACHING)


class Part(NamedTuple):
    """Two dropdowns: which tensor, and how it becomes a matrix where it has more dimensions."""

    tensor: gr.Dropdown
    flatten: gr.Dropdown


class Fields(NamedTuple):
    """Every way to bring a matrix."""

    ways: gr.Tabs
    sample: gr.Radio
    text: gr.Textbox
    typed: gr.Button
    file: gr.File
    of_file: Part
    model: gr.Dropdown
    of_model: Part


class View(NamedTuple):
    """What is shown of the matrix: the view itself, the progress, the stop button."""

    picture: gr.HTML
    doing: gr.HTML
    stop: gr.Button


def build_tab(opener: Opener, blocks: gr.Blocks, tab: gr.Tab) -> None:
    """The tab's contents and its wiring; call it inside the tab."""
    fields = _fields(opener.engine)
    with gr.Row(elem_classes="rs-job"):
        doing = gr.HTML(elem_id="matrix-doing", elem_classes="rs-doing-box", js_on_load="")
        stop = gr.Button(
            "Stop", variant="stop", size="sm", visible=False, scale=0, min_width=90,
            elem_id="matrix-stop",
        )  # fmt: skip
    problem = problem_box()
    shown = View(matrix_view(elem_id="matrix-view"), doing, stop)
    options = {"problem": problem, "concurrency_limit": 4, "trigger_mode": "multiple"}
    _wire_page(opener, fields, shown, blocks, tab, options)
    _wire_given(opener, fields, shown, options)
    _wire_upload(opener, fields, shown, options)
    _wire_model(opener, fields, shown, options)
    wire_stop(opener.turns, stop, problem)


def _fields(engine: Engine) -> Fields:
    with gr.Tabs(elem_id="matrix-source") as ways:
        with gr.Tab("Sample", id="sample"):
            picked = gr.Radio(
                sample_choices(), value=START_SAMPLE, show_label=False, container=False,
                elem_id="sample",
            )  # fmt: skip
        with gr.Tab("Type or paste", id="text"):
            text = gr.Textbox(
                START_TEXT, lines=5, max_lines=12, label="One line a row",
                info="Numbers parted by spaces, commas, semicolons or tabs.", elem_id="matrix-text",
            )  # fmt: skip
            typed = gr.Button("Take it apart", variant="primary", elem_id="take-apart")
        with gr.Tab("Upload", id="upload"):
            file = gr.File(
                label=".npy, .npz, .csv, .safetensors, .pt, .png or .jpg",
                file_types=FILE_TYPES, height=120, elem_id="matrix-file",
            )  # fmt: skip
            of_file = _part_fields("file", "Matrix in the file")
        with gr.Tab("Weight of a model", id="model"):
            model = gr.Dropdown(
                engine.base_models.names(), value=None, allow_custom_value=True,
                label="Model", info="One in the models folder, or the path of one.",
                elem_id="matrix-model",
            )  # fmt: skip
            of_model = _part_fields("model", "Weight")
    return Fields(ways, picked, text, typed, file, of_file, model, of_model)


def _wire_page(
    opener: Opener, fields: Fields, shown: View, blocks: gr.Blocks, tab: gr.Tab, options: dict
) -> None:
    """What opens of itself: what the address names, else a sample."""
    drawn = gr.Textbox(visible=False)

    def open_page(request: gr.Request) -> Iterator[tuple]:
        if tab_of(request) != "matrix":
            yield gr.skip()
            return
        wanted = wanted_from(request)
        yield (*_fields_of(opener.engine, wanted), *[gr.skip()] * 3)
        for outputs in opener.open(request, wanted, layout.whole_state_of(request, "k", 0)):
            yield (*[gr.skip()] * 5, *outputs)

    def open_first(drawn: str, request: gr.Request) -> Iterator[tuple]:
        if drawn:
            yield gr.skip()
            return
        k = layout.whole_state_of(request, "k", 0)
        yield from opener.open(request, wanted_from(request), k)

    named = [fields.ways, fields.sample, fields.model, *fields.of_model]
    wire([blocks.load], open_page, [], [*named, *shown], **options)
    wire([tab.select], open_first, [drawn], shown, js=IS_DRAWN, keeps_problem=True, **options)


def _wire_given(opener: Opener, fields: Fields, shown: View, options: dict) -> None:
    """A sample, and numbers that are typed."""

    def open_sample(name: str, request: gr.Request) -> Iterator[tuple]:
        yield from opener.open(request, wanted_sample(name))

    def open_text(numbers: str, request: gr.Request) -> Iterator[tuple]:
        yield from opener.open(request, Wanted("text", numbers))

    wire([fields.sample.input], open_sample, [fields.sample], shown, **options)
    wire([fields.typed.click], open_text, [fields.text], shown, **options)


def _wire_upload(opener: Opener, fields: Fields, shown: View, options: dict) -> None:
    """An uploaded file: its first matrix at once, the others by their names."""

    def open_upload(path: str | None, request: gr.Request) -> Iterator[tuple]:
        if path is None:
            yield (*_part_of([]), *[gr.skip()] * 3)
            return
        found = matrices_of(path)
        first = Wanted("file", path, found[0].name, _flatten_for(found[0], ""))
        several = len(found) > 1 or len(found[0].shape) > 2
        yield (*_part_of(found if several else []), *[gr.skip()] * 3)
        for outputs in opener.open(request, first):
            yield (gr.skip(), gr.skip(), *outputs)

    def open_file_part(
        path: str | None, tensor: str | None, flatten: str | None, request: gr.Request
    ) -> Iterator[tuple]:
        yield from _part_opened(opener, request, "file", path, tensor, flatten)

    part = fields.of_file
    chosen = [field.input for field in part]
    wire([fields.file.change], open_upload, [fields.file], [*part, *shown], **options)
    wire(chosen, open_file_part, [fields.file, *part], [part.flatten, *shown], **options)


def _wire_model(opener: Opener, fields: Fields, shown: View, options: dict) -> None:
    """A model: the list of its weights, then the one that is chosen."""

    def list_model(name: str | None) -> tuple:
        found = matrices_of(model_folder(opener.engine, name)) if name else []
        return _part_of(found, open_first=False)

    def open_weight(
        name: str | None, tensor: str | None, flatten: str | None, request: gr.Request
    ) -> Iterator[tuple]:
        yield from _part_opened(opener, request, "model", name, tensor, flatten)

    part = fields.of_model
    chosen = [field.input for field in part]
    wire([fields.model.input], list_model, [fields.model], part, problem=options["problem"])
    wire(chosen, open_weight, [fields.model, *part], [part.flatten, *shown], **options)


def _part_opened(
    opener: Opener,
    request: gr.Request,
    kind: str,
    name: str | None,
    tensor: str | None,
    flatten: str | None,
) -> Iterator[tuple]:
    """Ways to flatten, view, progress and stop button for one tensor of a file or model."""
    wanted, choices = _chosen(opener.engine, kind, name, tensor, flatten)
    yield (choices, *[gr.skip()] * 3)
    for outputs in opener.open(request, wanted):
        yield (gr.skip(), *outputs)


def _fields_of(engine: Engine, wanted: Wanted) -> tuple:
    """The fields as they stand when the address names this matrix: way, sample, model, part."""
    if wanted.kind == "sample":
        return (gr.skip(), wanted.name, *[gr.skip()] * 3)
    if wanted.kind == "update":
        return (gr.skip(), None, *[gr.skip()] * 3)
    tensors = matrices_of(model_folder(engine, wanted.name))
    info = next((item for item in tensors if item.name == wanted.tensor), None)
    tensor = gr.Dropdown(tensor_choices(tensors), value=wanted.tensor or None, visible=True)
    flatten = _flatten_update(info, wanted.flatten)
    return (gr.Tabs(selected="model"), gr.skip(), wanted.name, tensor, flatten)


def _part_fields(name: str, label: str) -> Part:
    with gr.Row():
        tensor = gr.Dropdown([], label=label, visible=False, elem_id=f"{name}-tensor", scale=2)
        flatten = gr.Dropdown(
            [], label="Flatten", info="A tensor of three or more dimensions, laid out as a matrix.",
            visible=False, allow_custom_value=True, elem_id=f"{name}-flatten", scale=1,
        )  # fmt: skip
    return Part(tensor, flatten)


def _part_of(tensors: list[TensorInfo], open_first: bool = True) -> tuple:
    """The two dropdowns for these tensors; hidden where there is nothing to choose."""
    if not tensors:
        return gr.Dropdown([], value=None, visible=False), gr.Dropdown([], visible=False)
    first = tensors[0] if open_first else None
    tensor = gr.Dropdown(tensor_choices(tensors), value=first.name if first else None, visible=True)
    return tensor, _flatten_update(first, "")


def _flatten_update(info: TensorInfo | None, chosen: str) -> gr.Dropdown:
    choices = flatten_choices(info) if info else []
    if not choices:
        return gr.Dropdown([], value=None, visible=False)
    return gr.Dropdown(choices, value=_flatten_for(info, chosen), visible=True)


def _flatten_for(info: TensorInfo, chosen: str) -> str:
    """The chosen way to flatten where one is needed; the first where none was chosen."""
    if len(info.shape) < 3:
        return ""
    return chosen or "first"


def _chosen(
    engine: Engine, kind: str, name: str | None, tensor: str | None, flatten: str | None
) -> tuple[Wanted, gr.Dropdown]:
    """One tensor of a file or a model as chosen in the dropdowns, and its ways to flatten."""
    if not name or not tensor:
        raise EngineError("No tensor is chosen.", "Choose one from the list.")
    path = model_folder(engine, name) if kind == "model" else name
    info = next((item for item in matrices_of(path) if item.name == tensor), None)
    way = _flatten_for(info, flatten or "") if info else flatten or ""
    return Wanted(kind, name, tensor, way), _flatten_update(info, way)
