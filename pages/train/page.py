"""The train page: a form made from the spec, one click to start, and the rows before that.

Knows which event does what; the fields are `form_fields`', the uploads `dataset_uploads`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.engine import Engine
from lora_engine.spec import RECIPES, RunSpec, recipe_spec, spec_from
from lora_engine.training import method_of_adapter
from pages import RUNS, TRAIN
from pages.shared import alpha_note, layout
from pages.shared.advice_panel import AdvicePanel
from pages.shared.alpha_note import shown_alpha
from pages.shared.forms import SpecForm
from pages.shared.static_files import event_js
from pages.shared.train_link import opening_spec, spec_in_address
from pages.shared.wiring import Update, problem_box, wire
from pages.train import (
    address,
    advice_section,
    chosen_dataset,
    data_check_section,
    dataset_uploads,
    endpoints,
    form_fields,
    method_fields,
    objective_fields,
    rows_view,
    sweep_section,
)
from pages.train.data_form import TrainForm

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
    """The page's components; `run_address` is hidden and leads to the run that was started.

    address, hidden too, is the page's own.
    """

    form: SpecForm
    scaling: gr.HTML
    objective: objective_fields.ObjectiveParts
    method: gr.HTML
    advice: AdvicePanel
    recipe: gr.Radio
    start: gr.Button
    sweep: sweep_section.SweepParts
    problem: gr.HTML
    data: form_fields.DataFields
    uploads: dataset_uploads.UploadParts
    show_rows: gr.Button
    rows: gr.HTML
    warnings: gr.HTML
    data_check: data_check_section.DataCheckParts
    rows_problem: gr.HTML
    run_address: gr.Textbox
    address: gr.Textbox


def build(engine: Engine) -> gr.Blocks:
    with layout.shell(TRAIN) as blocks:
        page = _lay_out(engine)
        _wire_start(page, engine)
        _wire_filling(page, engine, blocks)
        _wire_rank(page, blocks)
        objective_fields.connect(page.objective, page.form, blocks, page.problem)
        method_fields.connect(page.method, page.form, blocks, page.problem)
        _wire_going_on(page, engine)
        advice_section.connect(page.advice, page.form, engine)
        sweep_section.connect(page.sweep, page.form, page.advice, engine)
        address.connect(page.form, page.recipe, page.address, page.advice.wire_use(page.form))
        _wire_rows(page, engine, blocks)
        chosen_dataset.connect(
            page.form, page.data, page.uploads, page.recipe, page.rows_problem, engine
        )
        endpoints.offer(engine)
    return blocks


def _lay_out(engine: Engine) -> TrainPage:
    form = TrainForm()
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
    sweep = sweep_section.lay_out()
    with gr.Row():
        with gr.Column(scale=1, min_width=320):
            form_fields.first_fields(form, engine)
            advice = advice_section.lay_out()
            scaling = form_fields.rank_fields(form, engine)
            data = form_fields.data_fields(form)
            form_fields.set_fields(form, engine)
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
            warnings = gr.HTML(elem_id="early-warnings", js_on_load="")
            rows = gr.HTML("Reading the rows…", elem_id="rows")
            data_check = data_check_section.lay_out()
    with layout.folded("What is learned", "objective"):
        objective = objective_fields.lay_out(form, form_fields.NARROW)
    method = form_fields.more_fields(form, engine)
    layout.how_this_works(HELP)
    run_address, state = (gr.Textbox(visible=False) for _ in range(2))
    return TrainPage(
        form=form,
        scaling=scaling,
        objective=objective,
        method=method,
        advice=advice,
        recipe=recipe,
        start=start,
        sweep=sweep,
        problem=problem,
        data=data,
        uploads=uploads,
        show_rows=show_rows,
        rows=rows,
        warnings=warnings,
        data_check=data_check,
        rows_problem=rows_problem,
        run_address=run_address,
        address=state,
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
    filled = form.components

    def fill(recipe: str) -> Update:
        return shown(recipe_spec(recipe))

    def open_page(request: gr.Request) -> Update:
        spec = spec_in_address(engine, request)
        # What there is now: runs have finished and merges were made since the form was drawn.
        adapters = gr.Dropdown(
            choices=form_fields.starting_choices(engine), value=spec.method.init_from or ""
        )
        bases = gr.Dropdown(choices=engine.base_models.names(), value=spec.base_model)
        return {
            **shown(spec),
            form.component("method.init_from"): adapters,
            form.component("base_model"): bases,
        }

    def shown(spec: RunSpec) -> Update:
        return {**form.filled(spec), form.component(alpha_note.ALPHA): shown_alpha(spec)}

    def enable() -> Update:
        return {page.start: gr.Button(interactive=True)}

    wire([page.recipe.input], fill, [page.recipe], filled, problem=problem)
    opened = wire([blocks.load], open_page, [], filled, problem=problem)
    opened.then(enable, outputs=[page.start], api_visibility="private")


def _wire_rank(page: TrainPage, blocks: gr.Blocks) -> None:
    """The run's name follows the rank in the browser; the scaling is said beside alpha."""
    rank = page.form.component(alpha_note.RANK)
    gr.on([rank.input], **address.name_after_rank(page.form))
    alpha_note.connect(page.scaling, page.form, blocks)


def _wire_going_on(page: TrainPage, engine: Engine) -> None:
    """An adapter to go on from fills the fields of its shape."""
    form = page.form
    init_from, task = form.component("method.init_from"), form.component("task")
    shaped = [form.component(path) for path in form.paths if path.startswith("method.")]

    def take_shape(values: Mapping[Component, Any]) -> Update:
        if not values[init_from]:
            return {}
        method = method_of_adapter(values[init_from], values[task], engine.settings)
        kept = ("dropout", "loraplus_lr_ratio")
        filled = form.filled(opening_spec().model_copy(update={"method": method}))
        own = {form.component(f"method.{name}") for name in kept}
        return {field: filled[field] for field in shaped if field not in own}

    wire([init_from.input], take_shape, [init_from, task], shaped, problem=page.problem)


def _wire_rows(page: TrainPage, engine: Engine, blocks: gr.Blocks) -> None:
    """The viewer follows the fields that decide how a row becomes tokens."""
    form = page.form
    deciding = [form.component(path) for path in form.paths if decides_rows(path)]

    def show(values: Mapping[Component, Any]) -> Update:
        spec = spec_from(form.document(values))
        return {page.rows: rows_view.as_html(engine.datasets.preview(spec, rows_view.ROWS))}

    wire(
        [blocks.load, page.show_rows.click, *(field.change for field in deciding)],
        show,
        set(deciding),
        [page.rows],
        problem=page.rows_problem,
        follows=True,
        show_progress="minimal",
    )
    data_check_section.connect_warnings(page.warnings, form, deciding, blocks, engine)
    filled = data_check_section.FilledFields.of(form, page.uploads.uploads)
    data_check_section.connect(page.data_check, form, deciding, filled, engine)


def decides_rows(path: str) -> bool:
    """Whether the field at this path of the spec changes how a row becomes tokens."""
    others = ("base_model", "task", "seed", "objective.kind", "optimization.max_length")
    return path.startswith("dataset.") or path in others
