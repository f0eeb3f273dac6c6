"""The tab "A matrix": the ways to bring one, each wired to its opening.

The matrix stays in the cache under an id; k moves in the browser alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import gradio as gr

from lora_engine.engine import Engine
from lora_engine.errors import EngineError, NotFound
from lora_engine.language import tr
from lora_engine.spectrum import TEACHING
from lora_engine.weights import TensorInfo
from pages.shared import layout
from pages.shared.background_work import TabTasks, connect_stop, progress_row
from pages.shared.base_choices import list_bases_at_opening
from pages.shared.static_files import event_js
from pages.shared.uploads import unless_refused
from pages.shared.wiring import Update, wire
from pages.spectrum.matrix_cache import MatrixCache
from pages.spectrum.matrix_opening import MatrixOpener
from pages.spectrum.matrix_source import (
    START_SAMPLE,
    MatrixChoice,
    MatrixKind,
    choice_in_address,
    choice_of,
    flatten_choices,
    matrices_of,
    model_folder,
    sample_by_name,
    sample_choices,
    tab_in_address,
    tensor_choices,
)
from pages.spectrum.matrix_view import matrix_view, state_in

FILE_TYPES = [
    *(".npy", ".npz", ".csv", ".tsv", ".txt", ".safetensors", ".pt", ".pth", ".bin", ".ckpt"),
    *(".png", ".jpg", ".jpeg"),
]
START_TEXT = "\n".join(" ".join(map(str, row)) for row in TEACHING)


@dataclass(frozen=True)
class TensorFields:
    """Which tensor of a file or model, and how it becomes a matrix where it has more dimensions.

    kind and holder: what holds the tensors, and the component that names it.
    """

    kind: MatrixKind
    holder: gr.File | gr.Dropdown
    tensor: gr.Dropdown
    flatten: gr.Dropdown

    def hidden(self) -> Update:
        """Where there is nothing to choose."""
        return {
            self.tensor: gr.Dropdown([], value=None, visible=False),
            self.flatten: gr.Dropdown([], value=None, visible=False),
        }

    def listing(self, tensors: list[TensorInfo], chosen: TensorInfo | None = None) -> Update:
        """The choice among these tensors, and the ways to flatten the chosen one."""
        choices, value = tensor_choices(tensors), chosen.name if chosen else None
        return {
            self.tensor: gr.Dropdown(choices, value=value, visible=True),
            **self.flattening(chosen),
        }

    def flattening(self, info: TensorInfo | None, chosen: str = "") -> Update:
        """The ways to flatten a tensor; hidden where it needs none."""
        choices = flatten_choices(info) if info else []
        if info is None or not choices:
            return {self.flatten: gr.Dropdown([], value=None, visible=False)}
        value = _flatten_for(info, chosen)
        return {self.flatten: gr.Dropdown(choices, value=value, visible=True)}


@dataclass(frozen=True)
class SourceFields:
    """Every way to bring a matrix."""

    ways: gr.Tabs
    sample: gr.Radio
    text: gr.Textbox
    take_apart: gr.Button
    file: gr.File
    another: gr.UploadButton
    file_tensor: TensorFields
    model: gr.Dropdown
    model_tensor: TensorFields


def build_tab(
    engine: Engine, cache: MatrixCache, tasks: TabTasks, blocks: gr.Blocks, tab: gr.Tab
) -> None:
    """The tab's contents and its wiring; call it inside the tab."""
    fields = _source_fields(engine)
    row = progress_row("matrix")
    view = matrix_view(elem_id="matrix-view")
    opened = gr.Textbox(visible=False)

    opener = MatrixOpener(engine, cache, tasks, view, row)
    handlers = _Handlers(opener, fields)
    shown = [view, *row.outputs]
    file, model = fields.file_tensor, fields.model_tensor
    bind = partial(
        wire,
        problem=row.problem,
        concurrency_limit=4,
        trigger_mode="multiple",
        empties=[view, row.progress],
    )

    named = [fields.ways, fields.sample, fields.text, fields.model, model.tensor, model.flatten]
    bind([blocks.load], handlers.open_page, outputs=[*named, *shown], empties=[row.progress])
    bind([view.input], handlers.open_wanted, [view], shown)
    list_bases_at_opening(engine, blocks, [fields.model], row.problem)
    is_open = event_js("spectrum/tabs.js", "matrixIsOpen")
    bind([tab.select], handlers.open_first, [opened], shown, js=is_open, keeps_problem=True)
    bind([fields.sample.input], handlers.open_sample, [fields.sample], shown)
    bind([fields.take_apart.click], handlers.open_text, [fields.text], shown)
    another = fields.another
    wire([another.upload], handlers.take_another, [another], [fields.file], problem=row.problem)
    choices = [another, file.tensor, file.flatten]
    bind([fields.file.change], handlers.open_upload, [fields.file], [*choices, *shown])
    choices = [model.tensor, model.flatten]
    wire([fields.model.input], handlers.list_model, [fields.model], choices, problem=row.problem)
    for part in (file, model):
        changes, chosen = [part.tensor.input, part.flatten.input], [part.tensor, part.flatten]
        open_tensor = handlers.open_tensor_of(part)
        bind(changes, open_tensor, [part.holder, *chosen], [part.flatten, *shown])
    connect_stop(tasks, row)


@dataclass(frozen=True)
class _Handlers:
    """What the tab's events do."""

    opener: MatrixOpener
    fields: SourceFields

    def open_page(self, request: gr.Request) -> Iterator[Update]:
        """What the address names, else a sample."""
        if tab_in_address(request) != "matrix":
            yield {}
            return
        choice = choice_in_address(request)
        try:
            yield self._named(choice)
            yield from self.opener.open(request, choice, layout.whole_state_of(request, "k", 0))
        except NotFound:
            opening = MatrixChoice("sample", START_SAMPLE)
            yield self._named(opening)
            yield from self.opener.open(request, opening)
            raise

    def open_wanted(self, value: str, request: gr.Request) -> Iterator[Update]:
        """The matrix that is shown, without its mean or with it again."""
        yield from self.opener.open(request, choice_of(state_in(value)))

    def open_first(self, opened: str, request: gr.Request) -> Iterator[Update]:
        """The same, where the page opened on another tab."""
        if opened:
            yield {}
            return
        k = layout.whole_state_of(request, "k", 0)
        yield from self.opener.open(request, choice_in_address(request), k)

    def open_sample(self, name: str, request: gr.Request) -> Iterator[Update]:
        yield from self.opener.open(request, sample_by_name(name))

    def open_text(self, numbers: str, request: gr.Request) -> Iterator[Update]:
        yield from self.opener.open(request, MatrixChoice("text", numbers))

    def open_upload(self, path: str | None, request: gr.Request) -> Iterator[Update]:
        """An uploaded file: its first matrix at once, the others by their names."""
        part = self.fields.file_tensor
        # Gradio's box takes no second file while one stands in it.
        yield {self.fields.another: gr.UploadButton(visible=path is not None)}
        if path is None:
            yield part.hidden()
            return
        with unless_refused(path):
            tensors = matrices_of(path)
        first = tensors[0]
        several = len(tensors) > 1 or len(first.shape) > 2
        yield part.listing(tensors, first) if several else part.hidden()
        choice = MatrixChoice("file", path, first.name, _flatten_for(first, ""))
        with unless_refused(None if several else path):  # others may be chosen from it
            yield from self.opener.open(request, choice)

    def take_another(self, path: str | None) -> Update:
        """A file in place of the one before, as if it had been put into the box."""
        return {self.fields.file: path}

    def list_model(self, name: str | None) -> Update:
        """The weights of a model, none of them chosen yet."""
        part = self.fields.model_tensor
        if not name:
            return part.hidden()
        return part.listing(matrices_of(model_folder(self.opener.engine, name)))

    def open_tensor_of(self, part: TensorFields) -> Callable[..., Iterator[Update]]:
        """The handler that opens the chosen tensor of a file or of a model."""

        def open_tensor(
            name: str | None, tensor: str | None, flatten: str | None, request: gr.Request
        ) -> Iterator[Update]:
            if not name or not tensor:
                raise EngineError(tr("No tensor is chosen."), tr("Choose one from the list."))
            path = model_folder(self.opener.engine, name) if part.kind == "model" else name
            info = next((item for item in matrices_of(path) if item.name == tensor), None)
            way = _flatten_for(info, flatten or "") if info else flatten or ""
            yield part.flattening(info, way)
            choice = MatrixChoice(part.kind, name, tensor, way)
            yield from self.opener.open(request, choice)

        return open_tensor

    def _named(self, choice: MatrixChoice) -> Update:
        """The fields as they stand when the address names this matrix."""
        fields = self.fields
        if choice.kind == "text":
            return {
                fields.ways: gr.Tabs(selected="text"),
                fields.text: choice.name,
                fields.sample: None,
            }
        if choice.kind != "model":
            return {fields.sample: choice.name if choice.kind == "sample" else None}
        tensors = matrices_of(model_folder(self.opener.engine, choice.name))
        info = next((item for item in tensors if item.name == choice.tensor), None)
        part = fields.model_tensor
        return {
            fields.ways: gr.Tabs(selected="model"),
            fields.model: choice.name,
            part.tensor: gr.Dropdown(
                tensor_choices(tensors), value=choice.tensor or None, visible=True
            ),
            **part.flattening(info, choice.flatten),
        }


def _source_fields(engine: Engine) -> SourceFields:
    with gr.Tabs(elem_id="matrix-source") as ways:
        with gr.Tab(tr("Sample"), id="sample"):
            sample = gr.Radio(
                sample_choices(),
                value=START_SAMPLE,
                show_label=False,
                container=False,
                elem_id="sample",
            )
        with gr.Tab(tr("Type"), id="text"):
            text = gr.Textbox(
                START_TEXT,
                lines=5,
                max_lines=12,
                label=tr("One row a line"),
                info=tr("Numbers separated by spaces, commas, semicolons or tabs."),
                elem_id="matrix-text",
            )
            take_apart = gr.Button(tr("Take it apart"), variant="primary", elem_id="take-apart")
        with gr.Tab(tr("Upload"), id="upload"):
            file = gr.File(
                label=tr(".npy, .npz, .csv, .safetensors, .pt, .png or .jpg"),
                file_types=FILE_TYPES,
                height=120,
                elem_id="matrix-file",
            )
            another = gr.UploadButton(
                tr("Another file"),
                file_types=FILE_TYPES,
                size="sm",
                visible=False,
                elem_id="another-file",
                scale=0,
                min_width=140,
            )
            file_tensor = _tensor_fields("file", file, tr("Matrix in the file"))
        with gr.Tab(tr("Weight"), id="model"):
            model = gr.Dropdown(
                engine.base_models.names(),
                value=None,
                allow_custom_value=True,
                label=tr("Model"),
                info=tr("One in the models folder, or the path of one."),
                elem_id="matrix-model",
            )
            model_tensor = _tensor_fields("model", model, tr("Weight"))
    return SourceFields(
        ways, sample, text, take_apart, file, another, file_tensor, model, model_tensor
    )


def _tensor_fields(kind: MatrixKind, holder: gr.File | gr.Dropdown, label: str) -> TensorFields:
    with gr.Row():
        tensor = gr.Dropdown([], label=label, visible=False, elem_id=f"{kind}-tensor", scale=2)
        flatten = gr.Dropdown(
            [],
            label=tr("Flatten"),
            info=tr("A tensor of three or more dimensions, laid out as a matrix."),
            visible=False,
            allow_custom_value=True,
            elem_id=f"{kind}-flatten",
            scale=1,
        )
    return TensorFields(kind, holder, tensor, flatten)


def _flatten_for(info: TensorInfo, chosen: str) -> str:
    """The chosen way to flatten where one is needed; the first where none was chosen."""
    if len(info.shape) < 3:
        return ""
    return chosen or "first"
