"""The train page: a form made from the spec, one click to start, and the rows before that.

Knows which event does what; the fields are `form_fields`', the uploads `dataset_uploads`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from lora_engine.spec import RECIPES, RunSpec, recipe_spec, spec_from
from lora_engine.training import method_of_adapter
from pages import RUNS, TRAIN
from pages.shared import alpha_note, layout
from pages.shared.advice_panel import AdvicePanel
from pages.shared.alpha_note import shown_alpha
from pages.shared.forms import SpecForm
from pages.shared.settled_changes import SettledChanges
from pages.shared.static_files import event_js
from pages.shared.train_link import opening_spec, spec_in_address
from pages.shared.wiring import Update, problem_box, wire
from pages.train import (
    address,
    advice_section,
    changed_marks,
    chosen_dataset,
    data_check_section,
    dataset_uploads,
    endpoints,
    form_fields,
    method_cards,
    method_fields,
    objective_fields,
    rows_view,
    run_summary,
    spec_file,
    sweep_section,
)
from pages.train.data_form import TrainForm

HELP = translatable(
    r"""
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
)


@dataclass(frozen=True)
class TrainPage:
    """The page's components; `run_address` is hidden and leads to the run that was started.

    address, hidden too, is the page's own.
    """

    form: SpecForm
    cards: gr.HTML
    scaling: gr.HTML
    objective: objective_fields.ObjectiveParts
    method: gr.HTML
    advice: AdvicePanel
    advice_line: gr.HTML
    recipe: gr.Radio
    side: Side
    sweep: sweep_section.SweepParts
    data: form_fields.DataFields
    uploads: dataset_uploads.UploadParts
    rows: RowsParts
    data_check: data_check_section.DataCheckParts
    run_address: gr.Textbox
    address: gr.Textbox


@dataclass(frozen=True)
class Side:
    """What stands at the side: the summary, Start and its problem, sharing."""

    summary: run_summary.SummaryParts
    start: gr.Button
    problem: gr.HTML
    sharing: spec_file.SharingParts


@dataclass(frozen=True)
class RowsParts:
    """The viewer of the rows."""

    show: gr.Button
    problem: gr.HTML
    warnings: gr.HTML
    rows: gr.HTML


def build(engine: Engine) -> gr.Blocks:
    with layout.shell(TRAIN) as blocks:
        page = _lay_out(engine)
        form, side = page.form, page.side
        chosen = method_cards.connect(page.cards, form, blocks)
        filled, taken = _wire_filling(page, engine, blocks)
        changes = SettledChanges(run_summary.asked_of(form))
        changes.begin_after(filled)
        set_back = changed_marks.connect(form, changes)
        _wire_start(page, engine)
        _wire_rank(page, blocks)
        objective_fields.connect(page.objective, form, blocks, side.problem)
        method_fields.connect(page.method, form, blocks, side.problem)
        _wire_going_on(page, engine)
        advice_section.connect(page.advice, form, engine)
        sweep_section.connect(page.sweep, form, page.advice, engine)
        opened = spec_file.connect(side.sharing, form, partial(_shown, form))
        address.connect(
            form,
            page.address,
            [chosen, set_back, opened, taken],
            page.advice.wire_use(form),
        )
        _wire_rows(page, engine, filled)
        run_summary.connect(side.summary, page.cards, form, changes, engine)
        chosen_dataset.connect(
            form, page.data, page.uploads, page.recipe, page.rows.problem, engine
        )
        endpoints.offer(engine)
    return blocks


def _lay_out(engine: Engine) -> TrainPage:
    form = TrainForm()
    with gr.Row(elem_classes="rs-train"):
        with gr.Column(scale=3, min_width=320, elem_classes="rs-train-form"):
            recipe = gr.Radio(
                [(tr(title), name) for name, title in RECIPES.items()],
                value=next(iter(RECIPES)),
                label=tr("Start from an example"),
                elem_id="recipe",
            )
            layout.section(tr("Base and data"))
            form_fields.first_fields(form, engine)
            with gr.Row(elem_classes="rs-upload"):
                upload = dataset_uploads.upload_button()
            layout.section(tr("Method"))
            cards = method_cards.lay_out()
            method = method_fields.lay_out(form, form_fields.NARROW)
            layout.section(tr("Rank"))
            scaling = form_fields.rank_fields(form, engine)
            advice_line = advice_section.line()
            advice = advice_section.lay_out()
            rows = _lay_out_rows()
            data = form_fields.data_fields(form)
            form_fields.set_fields(form, engine)
            data_check = data_check_section.lay_out()
            uploads = dataset_uploads.lay_out(engine, upload)
            layout.section(tr("More settings"))
            with layout.folded(tr("What is learned"), "objective"):
                objective = objective_fields.lay_out(form, form_fields.NARROW)
            form_fields.more_fields(form, engine)
            layout.section(tr("Several runs"))
            sweep = sweep_section.lay_out()
            layout.how_this_works(tr(HELP))
        with gr.Column(scale=0, min_width=286, elem_id="train-side"):
            side = _lay_out_side()
    run_address, state = (gr.Textbox(visible=False) for _ in range(2))
    return TrainPage(
        form=form,
        cards=cards,
        scaling=scaling,
        objective=objective,
        method=method,
        advice=advice,
        advice_line=advice_line,
        recipe=recipe,
        side=side,
        sweep=sweep,
        data=data,
        uploads=uploads,
        rows=rows,
        data_check=data_check,
        run_address=run_address,
        address=state,
    )


def _lay_out_rows() -> RowsParts:
    layout.section(
        tr("The rows as the model sees them"),
        tr("The loss counts the marked tokens and no others."),
    )
    problem = problem_box()
    warnings = gr.HTML(elem_id="early-warnings", js_on_load="")
    rows = gr.HTML(tr("Reading the rows…"), elem_id="rows")
    show = gr.Button(tr("Show again"), size="sm", elem_id="preview")
    return RowsParts(show, problem, warnings, rows)


def _lay_out_side() -> Side:
    layout.section(tr("This run"))
    figures = run_summary.figures()
    with gr.Column(elem_id="run-bar"):
        line = run_summary.line()
        problem = problem_box()
        start = gr.Button(tr("Start training"), variant="primary", elem_id="start")
    sharing = spec_file.lay_out()
    summary = run_summary.SummaryParts(figures, line, run_summary.unfinished())
    return Side(summary, start, problem, sharing)


def _wire_start(page: TrainPage, engine: Engine) -> None:
    """A press waits until the form shows what the address asks for, or has said why it cannot."""
    form = page.form

    def submit(values: Mapping[Component, Any]) -> Update:
        run = engine.runs.submit(spec_from(form.document(values)))
        return {page.run_address: layout.link(RUNS, run=run.id)}

    waited = page.side.start.click(
        fn=None, js=event_js("train/follow.js", "whenFilled"), api_visibility="private"
    )
    inputs, outputs = form.inputs, [page.run_address]
    started = wire(waited.then, submit, inputs, outputs, problem=page.side.problem)
    started.then(
        fn=None,
        inputs=[page.run_address],
        js=event_js("shared/address.js", "go"),
        api_visibility="private",
        show_progress="hidden",
    )


def _wire_filling(page: TrainPage, engine: Engine, blocks: gr.Blocks) -> tuple[Any, Any]:
    """The form shows what the address asks for, and then the example that is chosen. Returns the
    event after which the page has opened, and that after which it shows an example, for `.then`."""
    form, problem = page.form, page.side.problem
    filled = form.components

    def fill(recipe: str) -> Update:
        return _shown(form, recipe_spec(recipe))

    def open_page(request: gr.Request) -> Update:
        engine.runs.expect()
        spec = spec_in_address(engine, request)
        # What there is now: runs have finished and merges were made since the form was drawn.
        adapters = gr.Dropdown(
            choices=form_fields.starting_choices(engine), value=spec.method.init_from or ""
        )
        bases = gr.Dropdown(choices=engine.base_models.names(), value=spec.base_model)
        return {
            **_shown(form, spec),
            form.component("method.init_from"): adapters,
            form.component("base_model"): bases,
        }

    chosen = [page.recipe.input]
    taken = wire(chosen, fill, [page.recipe], filled, problem=problem, redraws=[])
    relisted = [form.component("method.init_from"), form.component("base_model")]
    opened = wire([blocks.load], open_page, [], filled, problem=problem, redraws=relisted)
    is_open = opened.then(
        fn=None,
        js=event_js("train/follow.js", "filled"),
        api_visibility="private",
        show_progress="hidden",
    )
    return is_open, taken


def _shown(form: SpecForm, spec: RunSpec) -> Update:
    return {**form.filled(spec), form.component(alpha_note.ALPHA): shown_alpha(spec)}


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

    inputs, problem = [init_from, task], page.side.problem
    wire([init_from.input], take_shape, inputs, shaped, problem=problem, redraws=[])


def _wire_rows(page: TrainPage, engine: Engine, filled: Any) -> None:
    """The viewer follows the fields that decide how a row becomes tokens."""
    form, parts = page.form, page.rows
    deciding = SettledChanges([form.component(path) for path in form.paths if decides_rows(path)])
    deciding.begin_after(filled)

    def show(values: Mapping[Component, Any]) -> Update:
        spec = spec_from(form.document(values))
        return {parts.rows: rows_view.as_html(engine.datasets.preview(spec, rows_view.ROWS))}

    wire(
        [deciding.trigger, parts.show.click],
        show,
        set(deciding.fields),
        [parts.rows],
        problem=parts.problem,
        follows=True,
        show_progress="minimal",
    )
    data_check_section.connect_warnings(parts.warnings, form, deciding, engine)
    advice_section.connect_line(page.advice_line, form, deciding, engine)
    cleaned = data_check_section.FilledFields.of(form, page.uploads.uploads)
    data_check_section.connect(page.data_check, form, deciding, cleaned, engine)


def decides_rows(path: str) -> bool:
    """Whether the field at this path of the spec changes how a row becomes tokens."""
    others = ("base_model", "task", "seed", "objective.kind", "optimization.max_length")
    return path.startswith("dataset.") or path in others
