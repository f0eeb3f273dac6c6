"""The train page: a form made from the spec, one click to start, and the rows before that.

Knows which event does what; the fields are `form_fields`', the uploads `dataset_uploads`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from lora_engine.data import dataset_columns
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.spec import RECIPES, recipe_spec, spec_from
from pages import RUNS, TRAIN
from pages.shared import layout
from pages.shared.forms import SpecForm
from pages.shared.train_link import spec_in_address
from pages.shared.wiring import expose, problem_box, wire
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


def build(engine: Engine) -> gr.Blocks:
    form = SpecForm()
    with layout.shell(TRAIN) as blocks:
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
                library = dataset_uploads.section(engine, upload)
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
        address = gr.Textbox(visible=False)
        _wire_starting(engine, form, start, address, problem)
        _wire_filling(engine, blocks, form, recipe, start, problem)
        _wire_rows(engine, blocks, form, show_rows, rows, columns, rows_problem)
        source = form.component("dataset.source")
        naming = [form.component("name"), recipe]
        dataset_uploads.connect(library, engine, source, columns, naming, rows_problem)
        wire([source.input], dataset_uploads.no_example, [source, naming[0]], naming,
             problem=problem_box())  # fmt: skip
        expose(_submit_endpoint(engine), api_name="submit")
    return blocks


def _wire_starting(
    engine: Engine, form: SpecForm, start: gr.Button, address: gr.Textbox, problem: gr.HTML
) -> None:
    def submit(*values: Any) -> str:
        run = engine.runs.submit(spec_from(form.document(values)))
        return layout.link(RUNS, run=run.id)

    started = wire([start.click], submit, form.components, [address], problem=problem)
    started.then(fn=None, inputs=[address], js=_GO, api_visibility="private")


def _wire_filling(
    engine: Engine, blocks: gr.Blocks, form: SpecForm, recipe: gr.Radio, start: gr.Button,
    problem: gr.HTML,
) -> None:  # fmt: skip
    def fill(name: str) -> list[Any]:
        return form.values(recipe_spec(name))

    def open_page(request: gr.Request) -> list[Any]:
        return form.values(spec_in_address(engine, request))

    def enable() -> gr.Button:
        return gr.Button(interactive=True)

    wire([recipe.input], fill, [recipe], form.components, problem=problem)
    opened = wire([blocks.load], open_page, [], form.components, problem=problem)
    opened.then(enable, outputs=[start], api_visibility="private")


def _wire_rows(
    engine: Engine, blocks: gr.Blocks, form: SpecForm, show_rows: gr.Button, rows: gr.HTML,
    columns: Sequence[gr.Dropdown], problem: gr.HTML,
) -> None:  # fmt: skip
    """The viewer follows the base, the dataset, its format and columns, and the longest row."""

    def show(*values: Any) -> str:
        spec = spec_from(form.document(values))
        return rows_view.as_html(engine.datasets.preview(spec, rows_view.ROWS))

    def open_rows(request: gr.Request) -> str:
        return rows_view.as_html(
            engine.datasets.preview(spec_in_address(engine, request), rows_view.ROWS)
        )

    def offer_columns(name: str) -> list[gr.Dropdown]:
        try:
            found = dataset_columns(name, engine.settings)
        except EngineError:  # the viewer says what is wrong with the dataset
            found = ()
        return [gr.Dropdown(choices=list(found)) for _ in columns]

    def forget_columns() -> list[None]:
        return [None for _ in columns]

    source, format = form.component("dataset.source"), form.component("dataset.format")
    base, longest = form.component("base_model"), form.component("optimization.max_length")
    changes = [source.change, *(part.input for part in (base, format, *columns)), longest.submit]
    wire(
        [show_rows.click, *changes], show, form.components, [rows],
        problem=problem, show_progress="minimal", trigger_mode="always_last",
    )  # fmt: skip
    wire([blocks.load], open_rows, [], [rows], problem=problem)
    wire([source.change], offer_columns, [source], columns, problem=problem_box())
    wire([source.input], forget_columns, [], columns, problem=problem_box())


_GO = "(address) => { if (address) window.location.assign(address); return []; }"


def _submit_endpoint(engine: Engine):
    def submit(spec: dict) -> dict:
        """Queue a run from a spec document; answers with its id and state."""
        run = engine.runs.submit(spec_from(spec))
        return {"id": run.id, "state": str(run.record.state)}

    return submit
