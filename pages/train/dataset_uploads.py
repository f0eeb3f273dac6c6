"""The library of uploaded datasets on the train page: upload, use, delete after a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import gradio as gr

from lora_engine.data import EXTENSIONS, delete_upload, list_uploads, save_upload
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr, tr_count
from lora_engine.spec import RECIPES, recipe_spec
from pages.shared import layout
from pages.shared.questions import wire_taking_back
from pages.shared.uploads import once_read
from pages.shared.wiring import Update, problem_box, wire
from pages.train.form_fields import dataset_choices


@dataclass(frozen=True)
class UploadParts:
    """The parts of the section; the question stays hidden until something is to be deleted."""

    upload: gr.UploadButton
    uploads: gr.Dropdown
    delete: gr.Button
    group: gr.Column
    question: gr.HTML
    sure: gr.Button
    keep: gr.Button
    problem: gr.HTML


@dataclass(frozen=True)
class DatasetFields:
    """The form's fields that an upload fills: the dataset, the run's name, and the choice of an
    example, of columns and of a mixture, which are empty then."""

    source: gr.Dropdown
    name: gr.Textbox
    recipe: gr.Radio
    columns: Sequence[gr.Dropdown]
    mixture: gr.Textbox


def upload_button() -> gr.UploadButton:
    return gr.UploadButton(
        tr("Upload a dataset"),
        file_types=[*EXTENSIONS, ".gz"],
        size="sm",
        elem_id="upload",
        scale=0,
        min_width=180,
    )


def lay_out(engine: Engine, upload: gr.UploadButton) -> UploadParts:
    """Lay the section out; `connect` makes it work."""
    with gr.Accordion(tr("Uploaded datasets"), open=False, elem_id="library"):
        uploads = gr.Dropdown(
            choices=library_choices(engine),
            value=None,
            label=tr("In your library"),
            info=tr(
                "Files you uploaded, at most {size} MB each.",
                size=f"{engine.settings.max_upload_mb:,}",
            ),
            elem_id="uploads",
        )
        delete = gr.Button(tr("Delete…"), size="sm", elem_id="delete-dataset")
        with gr.Column(visible=False, elem_id="delete-dataset-question") as group:
            question = gr.HTML(js_on_load="")
            with gr.Row():
                sure = gr.Button(tr("Delete for good"), variant="stop", size="sm")
                keep = gr.Button(tr("Keep it"), size="sm")
        problem = problem_box()
    return UploadParts(upload, uploads, delete, group, question, sure, keep, problem)


def connect(
    parts: UploadParts, engine: Engine, fields: DatasetFields, upload_problem: gr.HTML
) -> None:
    """An upload becomes the form's dataset; one of the library is deleted after a question."""

    def take_upload(path: str, run_name: str) -> Update:
        with once_read(path) as file:
            saved = save_upload(file, file.name, engine.settings)
        return {
            fields.name: run_name_for(Path(path).name, run_name),
            fields.recipe: None,
            fields.source: gr.Dropdown(choices=dataset_choices(engine), value=saved.name),
            parts.uploads: gr.Dropdown(choices=library_choices(engine), value=saved.name),
            **dict.fromkeys(fields.columns),
            fields.mixture: "",
        }

    def ask(dataset: str | None) -> Update:
        if not dataset:
            raise EngineError(
                tr("No uploaded dataset is chosen."), tr("Choose one of the library.")
            )
        words = tr(
            "Delete {name} for good? Runs trained on it keep what they made, but cannot be "
            "resumed.",
            name=f"<strong>{escape(dataset)}</strong>",
        )
        return {parts.group: gr.Column(visible=True), parts.question: f"<p>{words}</p>"}

    def delete(dataset: str | None) -> Update:
        delete_upload(dataset or "", engine.settings)
        return {
            parts.group: gr.Column(visible=False),
            parts.uploads: gr.Dropdown(choices=library_choices(engine), value=None),
            fields.source: gr.Dropdown(choices=dataset_choices(engine)),
        }

    of_form = [fields.name, fields.recipe, fields.source, fields.mixture, *fields.columns]
    filled = [*of_form, parts.uploads]
    inputs = [parts.upload, fields.name]
    wire([parts.upload.upload], take_upload, inputs, filled, problem=upload_problem)
    question, problem = [parts.group, parts.question], parts.problem
    wire([parts.delete.click], ask, [parts.uploads], question, problem=problem)
    for taken_back in (parts.keep.click, parts.uploads.input):
        wire_taking_back(taken_back, parts.group)
    outputs = [parts.group, parts.uploads, fields.source]
    wire([parts.sure.click], delete, [parts.uploads], outputs, problem=problem)


def run_name_for(dataset: str | None, name: str) -> str:
    """The run's name: after its dataset where the name is still an example's."""
    examples = [recipe_spec(recipe).name for recipe in RECIPES]
    after_dataset = Path((dataset or "").replace(":", "/")).stem
    return after_dataset or name if name in examples else name


def library_choices(engine: Engine) -> list[tuple[str, str]]:
    return [
        (
            tr_count(
                "{name} — {format}, {count} row, {size}",
                "{name} — {format}, {count} rows, {size}",
                item.rows,
                name=item.name,
                format=item.format,
                size=layout.byte_size(item.size),
            ),
            item.name,
        )
        for item in list_uploads(engine.settings)
    ]
