"""The train page: a form made from the spec, one click to start, and the rows before that.

Knows which fields stand where; what they mean, allow and default to is the spec's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

from lora_engine.base_models import list_base_models
from lora_engine.data import list_datasets, save_upload
from lora_engine.engine import Engine
from lora_engine.training.availability import not_here, this_machine
from lora_engine.training.recipes import RECIPES, recipe_spec
from lora_engine.training.spec import RunSpec, spec_from
from pages import RUNS, TRAIN, layout, rows_view
from pages.forms import SpecForm
from pages.wiring import expose, problem_box, wire

HELP = r"""
LoRA leaves the base weight $W$ (d × k) as it is and trains a low-rank update beside it:

$$W' = W + \tfrac{\alpha}{r}\, B A, \qquad B: d \times r,\quad A: r \times k$$

Only $A$ and $B$ get gradients: $r(d + k)$ numbers instead of $dk$. For d = k = 256 and r = 8 that
is 4,096 instead of 65,536.

The run is a process of its own: close this page, or stop the server, and it goes on.
The loss counts the assistant's turns alone, with the token that ends them; what the user says is
read, not learned. Source: Hu et al. 2021, arXiv 2106.09685.
"""

STARTER_NOTE = """
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
            # Live once the form shows what the address asks for.
            start = gr.Button(
                "Start training", variant="primary", scale=1, elem_id="start", interactive=False
            )
        problem = problem_box()
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                _fields(form, engine)
            with gr.Column(scale=1, min_width=320):
                gr.Markdown(STARTER_NOTE)
                layout.section(
                    "The rows as the model sees them",
                    "The loss counts the marked tokens and no others.",
                )
                with gr.Row():
                    show_rows = gr.Button("Show again", size="sm", elem_id="preview")
                    upload = gr.UploadButton(
                        "Upload a dataset",
                        file_types=[".jsonl", ".json", ".csv", ".parquet", ".txt"],
                        size="sm",
                        elem_id="upload",
                    )
                rows_problem = problem_box()
                rows = gr.HTML("Reading the rows…", elem_id="rows")
        layout.how_this_works(HELP)
        address = gr.Textbox(visible=False)

        def submit(*values: Any) -> str:
            run = engine.submit(spec_from(form.document(values)))
            return layout.link(RUNS, run=run.id)

        def show(*values: Any) -> str:
            spec = spec_from(form.document(values))
            return rows_view.as_html(engine.preview(spec, rows_view.ROWS))

        def take_upload(path: str) -> Any:
            saved = save_upload(Path(path), Path(path).name, engine.settings)
            return gr.Dropdown(choices=_dataset_choices(engine), value=saved.name)

        def fill(name: str) -> list[Any]:
            return form.values(recipe_spec(name))

        def open_page(request: gr.Request) -> list[Any]:
            return [
                gr.Button(interactive=True),
                *form.values(_spec_in_address(engine, request)),
            ]

        def open_rows(request: gr.Request) -> str:
            return rows_view.as_html(
                engine.preview(_spec_in_address(engine, request), rows_view.ROWS)
            )

        source = form.component("dataset.source")
        started = wire([start.click], submit, form.components, [address], problem=problem)
        started.then(fn=None, inputs=[address], js=_GO, api_visibility="private")
        wire(
            [show_rows.click, source.change], show, form.components, [rows],
            problem=rows_problem, show_progress="minimal", trigger_mode="always_last",
        )  # fmt: skip
        wire([upload.upload], take_upload, [upload], [source], problem=rows_problem)
        wire([recipe.input], fill, [recipe], form.components, problem=problem)
        wire([blocks.load], open_page, [], [start, *form.components], problem=problem)
        wire([blocks.load], open_rows, [], [rows], problem=rows_problem)
        expose(_submit_endpoint(engine), api_name="submit")
    return blocks


_GO = "(address) => { if (address) window.location.assign(address); return []; }"


def _fields(form: SpecForm, engine: Engine) -> None:
    """The fields, the ones a first run needs on top."""
    form.field("name")
    form.field(
        "base_model",
        choices=[model.name for model in list_base_models(engine.settings)],
    )
    form.field(
        "dataset.source",
        choices=_dataset_choices(engine),
    )
    form.field("method.rank", maximum=64)
    with gr.Row():
        form.field("optimization.learning_rate", min_width=140)
        form.field("optimization.epochs", min_width=140)
    with gr.Accordion("The method", open=False):
        for name in ("finetuning_type", "freeze_layers", "galore_every", "galore_scale"):
            form.field(f"method.{name}")
    with gr.Accordion("The adapter", open=False):
        for name in ("alpha", "dropout", "target_modules", "use_rslora", "use_dora", "init"):
            form.field(f"method.{name}")
        for name in ("loraplus_lr_ratio", "rank_pattern", "alpha_pattern", "modules_to_save"):
            form.field(f"method.{name}")
        for name in ("lora_bias", "bias"):
            form.field(f"method.{name}")
    with gr.Accordion("The steps", open=False):
        for name in ("batch_size", "gradient_accumulation", "max_length", "max_steps"):
            form.field(f"optimization.{name}")
        for name in ("schedule", "warmup_ratio", "weight_decay", "max_grad_norm"):
            form.field(f"optimization.{name}")
        _field_with_reasons(form, "optimization.optimizer", engine)
        for name in ("precision", "gradient_checkpointing", "eval_every", "save_every"):
            form.field(f"optimization.{name}")
        for name in ("early_stopping", "save_best"):
            form.field(f"optimization.{name}")
        form.field("seed")
    with gr.Accordion("The data", open=False):
        form.field("dataset.format")
        form.field("dataset.eval_fraction")
    with gr.Accordion("Quantization (QLoRA)", open=False):
        _field_with_reasons(form, "quantization.bits", engine)
        for name in ("type", "double"):
            form.field(f"quantization.{name}")
    with gr.Accordion("What is shown meanwhile", open=False):
        for name in ("samples", "sample_prompts", "sample_tokens"):
            form.field(f"report.{name}")
        _field_with_reasons(form, "report.report_to", engine)


def _field_with_reasons(form: SpecForm, path: str, engine: Engine) -> None:
    """A field whose help says which of its choices this machine cannot run, and why."""
    field = form.field(path)
    reasons = not_here(this_machine(engine.settings))[path]
    by_reason: dict[str, list[str]] = {}
    for choice, reason in reasons.items():
        by_reason.setdefault(reason, []).append(choice)
    if reasons:
        words = "; ".join(f"{', '.join(names)} ({why})" for why, names in by_reason.items())
        field.info = f"{field.info} Not on this machine: {words}."


def _dataset_choices(engine: Engine) -> list[tuple[str, str]]:
    return [
        (f"{item.name} — {item.description}", item.name) for item in list_datasets(engine.settings)
    ]


def _spec_in_address(engine: Engine, request: gr.Request) -> RunSpec:
    """`?from=RUN` copies a run's spec; the other names of the address change single fields.

    Any field can be named by its path, with a value in JSON: `&optimization.batch_size=4`.
    """
    copied = layout.state_of(request, "from")
    spec = engine.run(copied).record.spec if copied else recipe_spec(next(iter(RECIPES)))
    document = spec.model_dump(mode="json")
    if layout.state_of(request, "base_model"):
        document["base_model"] = layout.state_of(request, "base_model")
    if layout.state_of(request, "dataset"):
        document["dataset"]["source"] = layout.state_of(request, "dataset")
    if layout.state_of(request, "rank").isdigit():
        document["method"]["rank"] = int(layout.state_of(request, "rank"))
    if layout.state_of(request, "alpha"):
        document["method"]["alpha"] = _number(layout.state_of(request, "alpha"))
    targets = layout.state_of(request, "target_modules")
    if targets:
        named = [name.strip() for name in targets.split(",")]
        document["method"]["target_modules"] = targets if named == ["all-linear"] else named
    for path in request.query_params:
        if "." in path:
            _put(document, path, _json_or_text(layout.state_of(request, path)))
    return spec_from(document)


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    """Set the field at a dotted path; what is no field is the spec's to refuse."""
    *sections, name = path.split(".")
    for section in sections:
        if not isinstance(document.get(section), dict):
            document[section] = {}
        document = document[section]
    document[name] = value


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _number(text: str) -> float | str:
    """The number in an address, or the text for the spec to refuse."""
    try:
        return float(text)
    except ValueError:
        return text


def _submit_endpoint(engine: Engine):
    def submit(spec: dict) -> dict:
        """Queue a run from a spec document; answers with its id and state."""
        run = engine.submit(spec_from(spec))
        return {"id": run.id, "state": str(run.record.state)}

    return submit
