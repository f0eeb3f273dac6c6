"""The train page: a form made from the spec, one click to start, and the rows before that.

Knows which event does what; the fields are `form_fields`', the uploads `dataset_uploads`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.data import dataset_columns
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.spec import RECIPES, recipe_spec, spec_from
from pages import RUNS, TRAIN
from pages.shared import layout
from pages.shared.forms import SpecForm
from pages.shared.static_files import event_js
from pages.shared.train_link import spec_in_address
from pages.shared.wiring import Update, expose, problem_box, wire
from pages.train import dataset_uploads, form_fields, rows_view

HELP = r"""
LoRA leaves the base weight $W$ (d × k) as it is and trains a low-rank update beside it:

$$W' = W + \tfrac{\alpha}{r}\, B A, \qquad B: d \times r,\quad A: r \times k$$

Only $A$ and $B$ get gradients: $r(d + k)$ numbers instead of $dk$. For d = k = 256 and r = 8 that
is 4,096 instead of 65,536.

The run is a process of its own: close this page, or stop the server, and it goes on.
The loss counts the assistant's turns alone, with the token that ends them; what the user says is
read, not learned. Source: Hu et al. 2021, arXiv 2106.09685.

`starter` is a small teaching model that comes with Rankscope: it answers simple questions about a
small world and trains in about a minute on a laptop. For real work, give a folder with a model
(config.json, tokenizer, safetensors), put it into LORA_MODELS_DIR to choose it by name, or type a
hub id such as `org/name`, which is then downloaded.
"""


@dataclass(frozen=True)
class TrainPage:
    """The page's components; `run_address` is hidden and leads to the run that was started."""

    form: SpecForm
    recipe: gr.Radio
    start: gr.Button
    problem: gr.HTML
    columns: Sequence[gr.Dropdown]
    uploads: dataset_uploads.UploadParts
    show_rows: gr.Button
    rows: gr.HTML
    rows_problem: gr.HTML
    run_address: gr.Textbox


def build(engine: Engine) -> gr.Blocks:
    with layout.shell(TRAIN) as blocks:
        page = _lay_out(engine)
        _wire_start(page, engine)
        _wire_filling(page, engine, blocks)
        _wire_rows(page, engine, blocks)
        _wire_dataset(page, engine)
        expose(_submit_endpoint(engine), api_name="submit")
    return blocks


def _lay_out(engine: Engine) -> TrainPage:
    form = SpecForm()
    with gr.Row(elem_classes="rs-actions"):
        recipe = gr.Radio(
            [(title, name) for name, title in RECIPES.items()],
            value=next(iter(RECIPES)),
            label="Start from an example",
            elem_id="recipe",
            scale=3,
        )
        # Live once the form shows what the address asks for, or has said why it cannot.
        start = gr.Button(
            "Start training", variant="primary", scale=1, elem_id="start", interactive=False
        )
    problem = problem_box()
    with gr.Row():
        with gr.Column(scale=1, min_width=320):
            form_fields.first_fields(form, engine)
            columns = form_fields.data_fields(form)
            with gr.Row():
                upload = dataset_uploads.upload_button()
            uploads = dataset_uploads.lay_out(engine, upload)
        with gr.Column(scale=1, min_width=320):
            layout.section(
                "The rows as the model sees them",
                "The loss counts the marked tokens and no others.",
            )
            show_rows = gr.Button("Show again", size="sm", elem_id="preview")
            rows_problem = problem_box()
            rows = gr.HTML("Reading the rows…", elem_id="rows")
    form_fields.more_fields(form, engine)
    layout.how_this_works(HELP)
    run_address = gr.Textbox(visible=False)
    return TrainPage(
        form=form,
        recipe=recipe,
        start=start,
        problem=problem,
        columns=columns,
        uploads=uploads,
        show_rows=show_rows,
        rows=rows,
        rows_problem=rows_problem,
        run_address=run_address,
    )


def _wire_start(page: TrainPage, engine: Engine) -> None:
    form = page.form

    def submit(values: Mapping[Component, Any]) -> Update:
        run = engine.runs.submit(spec_from(form.document(values)))
        return {page.run_address: layout.link(RUNS, run=run.id)}

    clicked, inputs = [page.start.click], form.inputs
    started = wire(clicked, submit, inputs, [page.run_address], problem=page.problem)
    started.then(
        fn=None,
        inputs=[page.run_address],
        js=event_js("shared/address.js", "go"),
        api_visibility="private",
    )


def _wire_filling(page: TrainPage, engine: Engine, blocks: gr.Blocks) -> None:
    """The form shows what the address asks for, and then the example that is chosen."""
    form, problem = page.form, page.problem

    def fill(recipe: str) -> Update:
        return form.filled(recipe_spec(recipe))

    def open_page(request: gr.Request) -> Update:
        return form.filled(spec_in_address(engine, request))

    def enable() -> Update:
        return {page.start: gr.Button(interactive=True)}

    wire([page.recipe.input], fill, [page.recipe], form.components, problem=problem)
    opened = wire([blocks.load], open_page, [], form.components, problem=problem)
    opened.then(enable, outputs=[page.start], api_visibility="private")


def _wire_rows(page: TrainPage, engine: Engine, blocks: gr.Blocks) -> None:
    """The viewer follows the base, the dataset, its format and columns, and the longest row."""
    form = page.form

    def show(values: Mapping[Component, Any]) -> Update:
        spec = spec_from(form.document(values))
        return {page.rows: rows_view.as_html(engine.datasets.preview(spec, rows_view.ROWS))}

    def open_rows(request: gr.Request) -> Update:
        spec = spec_in_address(engine, request)
        return {page.rows: rows_view.as_html(engine.datasets.preview(spec, rows_view.ROWS))}

    changes = [
        page.show_rows.click,
        form.component("dataset.source").change,
        form.component("dataset.format").input,
        form.component("base_model").input,
        form.component("optimization.max_length", gr.Number).submit,
        *(column.input for column in page.columns),
    ]
    wire(
        changes,
        show,
        form.inputs,
        [page.rows],
        problem=page.rows_problem,
        show_progress="minimal",
        trigger_mode="always_last",
    )
    wire([blocks.load], open_rows, [], [page.rows], problem=page.rows_problem)


def _wire_dataset(page: TrainPage, engine: Engine) -> None:
    """Another dataset has other columns, and is no example any more."""
    source = page.form.component("dataset.source", gr.Dropdown)
    name = page.form.component("name", gr.Textbox)
    columns = page.columns

    def offer_columns(dataset: str) -> Update:
        try:
            found = dataset_columns(dataset, engine.settings)
        except EngineError:  # the viewer says what is wrong with the dataset
            found = ()
        return {column: gr.Dropdown(choices=list(found)) for column in columns}

    def forget_columns() -> Update:
        return dict.fromkeys(columns)

    def leave_example(dataset: str | None, run_name: str) -> Update:
        return {name: dataset_uploads.run_name_for(dataset, run_name), page.recipe: None}

    wire([source.change], offer_columns, [source], columns, problem=problem_box())
    wire([source.input], forget_columns, [], columns, problem=problem_box())
    outputs = [name, page.recipe]
    wire([source.input], leave_example, [source, name], outputs, problem=problem_box())
    fields = dataset_uploads.DatasetFields(source, name, page.recipe, columns)
    dataset_uploads.connect(page.uploads, engine, fields, page.rows_problem)


def _submit_endpoint(engine: Engine) -> Callable[[dict], dict]:
    def submit(spec: dict) -> dict:
        """Queue a run from a spec document; answers with its id and state."""
        run = engine.runs.submit(spec_from(spec))
        return {"id": run.id, "state": str(run.record.state)}

    return submit
