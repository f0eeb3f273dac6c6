"""The library of uploaded datasets on the train page: upload, use, delete after a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.data import delete_upload, list_uploads, save_upload
from lora_engine.data.record_files import EXTENSIONS
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.spec import RECIPES, recipe_spec
from pages.shared import layout
from pages.shared.wiring import problem_box, wire
from pages.train.form_fields import dataset_choices


@dataclass(frozen=True)
class Library:
    """The parts of the section; the question stands hidden until something is to be deleted."""

    upload: gr.UploadButton
    uploads: gr.Dropdown
    delete: gr.Button
    group: gr.Group
    question: gr.HTML
    sure: gr.Button
    keep: gr.Button
    problem: gr.HTML


def upload_button() -> gr.UploadButton:
    return gr.UploadButton(
        "Upload a dataset", file_types=list(EXTENSIONS), size="sm", elem_id="upload"
    )


def section(engine: Engine, upload: gr.UploadButton) -> Library:
    """Lay the section out; `connect` makes it work."""
    with gr.Accordion("Uploaded datasets", open=False, elem_id="library"):
        uploads = gr.Dropdown(
            choices=_choices(engine),
            value=None,
            label="In your library",
            info=f"Files you uploaded, at most {engine.settings.max_upload_mb:,} MB each.",
            elem_id="uploads",
        )
        delete = gr.Button("Delete…", size="sm", elem_id="delete-dataset")
        with gr.Group(visible=False, elem_id="delete-dataset-question") as group:
            question = gr.HTML(js_on_load="")
            with gr.Row():
                sure = gr.Button("Delete for good", variant="stop", size="sm")
                keep = gr.Button("Keep it", size="sm")
        problem = problem_box()
    return Library(upload, uploads, delete, group, question, sure, keep, problem)


def connect(
    library: Library,
    engine: Engine,
    source: gr.Dropdown,
    columns: Sequence[Component],
    naming: Sequence[Component],
    upload_problem: gr.HTML,
) -> None:
    """An upload becomes the form's dataset, with no columns named yet.

    naming: the run's name and the choice of an example, which is one no longer.
    """

    def take_upload(path: str, name: str) -> list[Any]:
        saved = save_upload(Path(path), Path(path).name, engine.settings)
        return [
            *no_example(Path(path).name, name),
            gr.Dropdown(choices=dataset_choices(engine), value=saved.name),
            gr.Dropdown(choices=_choices(engine), value=saved.name),
            *[None] * len(columns),
        ]

    def ask(name: str | None) -> list[Any]:
        if not name:
            raise EngineError("No uploaded dataset is chosen.", "Choose one of the library.")
        words = (
            f"<p>Delete <strong>{escape(name)}</strong> for good? Runs trained on it keep what "
            "they made, but cannot be resumed.</p>"
        )
        return [gr.Group(visible=True), words]

    def keep() -> gr.Group:
        return gr.Group(visible=False)

    def delete(name: str | None) -> list[Any]:
        delete_upload(name or "", engine.settings)
        return [
            gr.Group(visible=False),
            gr.Dropdown(choices=_choices(engine), value=None),
            gr.Dropdown(choices=dataset_choices(engine)),
        ]

    uploaded = [*naming, source, library.uploads, *columns]
    wire([library.upload.upload], take_upload, [library.upload, naming[0]], uploaded,
         problem=upload_problem)  # fmt: skip
    wire(
        [library.delete.click], ask, [library.uploads], [library.group, library.question],
        problem=library.problem,
    )  # fmt: skip
    wire([library.keep.click, library.uploads.input], keep, [], [library.group],
         problem=library.problem)  # fmt: skip
    wire(
        [library.sure.click], delete, [library.uploads],
        [library.group, library.uploads, source], problem=library.problem,
    )  # fmt: skip


def no_example(source: str | None, name: str) -> tuple[str, None]:
    """The run's name after its dataset where it still has an example's, and no example chosen."""
    examples = [recipe_spec(recipe).name for recipe in RECIPES]
    after_dataset = Path((source or "").replace(":", "/")).stem
    return (after_dataset or name if name in examples else name, None)


def _choices(engine: Engine) -> list[tuple[str, str]]:
    return [
        (
            f"{item.name} — {item.format}, {layout.count(item.rows)} rows, "
            f"{layout.byte_size(item.size)}",
            item.name,
        )
        for item in list_uploads(engine.settings)
    ]
