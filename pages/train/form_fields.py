"""The fields of the train page: which stand where. What they mean and allow is the spec's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from lora_engine.data import named_datasets
from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from lora_engine.spec import ColumnsSpec
from lora_engine.training import this_machine, unavailable_choices
from pages.shared import layout
from pages.shared.adapter_choices import adapter_choices
from pages.shared.alpha_note import alpha_note
from pages.shared.choice_names import name_of_choice
from pages.shared.forms import Field, SpecForm
from pages.train.place_fields import is_shown_here, place_fields

NARROW = 220  # pixels under which a field gets a row of its own
HALF = 140  # the same where two stand in one row
FOURTH = 150  # the same where four do
COLUMNS = tuple(f"dataset.columns.{role}" for role in ColumnsSpec.model_fields)


@dataclass(frozen=True)
class Section:
    """A closed part of the form: the fields of one section of the spec, row by row."""

    title: str
    name: str
    rows: tuple[tuple[str, ...], ...]


SET_ROWS = (
    ("config", "split"),
    ("eval_source", "eval_config", "eval_split"),
    ("filters.min_characters", "filters.max_characters"),
    ("filters.keep_matching", "filters.drop_matching"),
    ("filters.drop_duplicates",),
)
MIXTURE_EXAMPLE = "2 starter:pirate\n1 starter:json"
MIXTURE_HELP = translatable(
    "In place of the dataset above: a set on each line, its weight before its name. An epoch has "
    "as many rows as all sets together; a set's share of it is its weight. A line may be JSON with "
    "source, weight, config, split, format and columns."
)


@dataclass(frozen=True)
class DataFields:
    """columns: the fields that name columns, in the order of `COLUMNS`. records: what stands in
    the file's first rows."""

    columns: Sequence[gr.Dropdown]
    records: gr.HTML


SECTIONS = (
    Section(
        translatable("The adapter"),
        "method",
        (
            ("dropout", "target_modules"),
            ("init", "loraplus_lr_ratio", "bias"),
            ("rank_pattern", "alpha_pattern", "modules_to_save"),
            ("use_rslora", "use_dora", "lora_bias"),
        ),
    ),
    Section(
        translatable("Training steps"),
        "optimization",
        (
            ("batch_size", "gradient_accumulation", "max_length", "max_steps"),
            ("schedule", "warmup_ratio", "weight_decay", "max_grad_norm"),
            ("optimizer", "precision", "max_tokens_per_batch", "row_order"),
            ("gradient_checkpointing", "stream_base"),
            ("offload_activations",),
            ("devices", "sharding"),
        ),
    ),
    Section(
        translatable("Evaluation and saving"),
        "optimization",
        (("eval_every", "save_every", "early_stopping"), ("save_best",)),
    ),
    Section(translatable("Quantization (QLoRA)"), "quantization", (("bits", "type", "double"),)),
    Section(
        translatable("What is shown meanwhile"),
        "report",
        (("samples", "sample_tokens", "report_to"), ("own_worker",)),
    ),
)


def first_fields(form: SpecForm, engine: Engine) -> None:
    """The base, the data, and what the run is called."""
    with gr.Row(elem_classes="rs-fields"):
        form.field("base_model", choices=engine.base_models.names(), min_width=NARROW)
        form.field("dataset.source", choices=dataset_choices(engine), min_width=NARROW)
        form.field("name", min_width=NARROW)


def rank_fields(form: SpecForm, engine: Engine) -> gr.HTML:
    """Rank and alpha, how fast and how long; returns the line that says what alpha means."""
    with gr.Row(elem_classes="rs-fields"):
        form.field("method.rank", min_width=HALF)
        form.field("method.alpha", value=None, min_width=HALF)
        form.field("optimization.learning_rate", min_width=HALF)
        form.field("optimization.epochs", min_width=HALF)
    return alpha_note()


def more_fields(form: SpecForm, engine: Engine) -> None:
    """Everything else, closed."""
    for section in SECTIONS:
        _section(form, engine, section)
    place_fields(form, engine, NARROW)


def data_fields(form: SpecForm) -> DataFields:
    """How the rows are read."""
    with layout.folded(tr("Columns and format"), "columns"):
        gr.Markdown(
            tr(
                "Leave these empty where the format is found by itself. Else say which column "
                "holds what: prompt and answer; or messages; or text alone; or text and label; or "
                "tokens and tags."
            )
        )
        with gr.Row(elem_classes="rs-fields"):
            form.field("dataset.format", min_width=NARROW)
            form.field("dataset.eval_fraction", min_width=NARROW)
            form.field("dataset.template", min_width=NARROW)
        with gr.Row(elem_classes="rs-fields"):
            form.field("dataset.reasoning", min_width=NARROW)
            form.field("dataset.turns", min_width=NARROW)
        for start in range(0, len(COLUMNS), 2):
            with gr.Row(elem_classes="rs-fields"):
                for path in COLUMNS[start : start + 2]:
                    form.field(path, choices=[], min_width=160)
        records = gr.HTML(elem_id="first-records")
    return DataFields([form.component(path, gr.Dropdown) for path in COLUMNS], records)


def set_fields(form: SpecForm, engine: Engine) -> None:
    """Which sets are read, which rows stay, and which are evaluated."""
    with layout.folded(tr("Several sets, filters, a set to evaluate on"), "sets"):
        form.field("dataset.mixture", placeholder=MIXTURE_EXAMPLE, info=tr(MIXTURE_HELP))
        for names in SET_ROWS:
            with gr.Row(elem_classes="rs-fields"):
                for name in names:
                    choices = dataset_choices(engine) if name == "eval_source" else None
                    more = {} if choices is None else {"choices": choices}
                    form.field(f"dataset.{name}", min_width=NARROW, **more)


def dataset_choices(engine: Engine) -> list[tuple[str, str]]:
    return [
        (f"{name} — {tr(description)}", name)
        for name, description in named_datasets(engine.settings)
    ]


def starting_choices(engine: Engine) -> list[tuple[str, str]]:
    """The adapters that a run can go on from, newest first, after the choice of none."""
    return [(tr("a new adapter"), ""), *adapter_choices(engine, lora_alone=True)]


def _section(form: SpecForm, engine: Engine, section: Section) -> None:
    with layout.folded(tr(section.title)):
        if section.name == "method":
            form.field("method.init_from", choices=starting_choices(engine))
        for names in section.rows:
            _row(form, engine, section.name, names)
        if section.name == "report":
            form.field("report.sample_prompts")
        if "batch_size" in section.rows[0]:
            _row(form, engine, "", ("seed",))


def _row(
    form: SpecForm, engine: Engine, section: str, names: Sequence[str], width: int = NARROW
) -> None:
    reasons = unavailable_choices(this_machine(engine.settings))
    with gr.Row(elem_classes="rs-fields"):
        for name in names:
            path = f"{section}.{name}" if section else name
            across = FOURTH if len(names) > 3 else width
            hidden = {} if is_shown_here(path, engine) else {"visible": False}
            field = form.field(path, min_width=across, **hidden)
            _say_reasons(field, path, reasons.get(path, {}))


def _say_reasons(field: Field, path: str, reasons: dict[str, str]) -> None:
    """Add to a field's help which of its choices this machine cannot run, and why."""
    by_reason: dict[str, list[str]] = {}
    for choice, reason in reasons.items():
        by_reason.setdefault(reason, []).append(name_of_choice(choice, path))
    if reasons:
        listed = "; ".join(f"{', '.join(names)} ({why})" for why, names in by_reason.items())
        field.info = f"{field.info} {tr('Not on this machine: {choices}.', choices=listed)}"
