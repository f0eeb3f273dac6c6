"""What follows from another dataset: other columns and first rows, and no example any more.

Knows the form and its events; what stands in the file is the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.data import column_names, first_records
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.spec import spec_from
from pages.shared.forms import SpecForm
from pages.shared.wiring import Update, problem_box, wire
from pages.train import dataset_uploads
from pages.train.first_records import as_html as records_html
from pages.train.form_fields import DataFields

RECORDS = 3  # of the file, shown column by column


def connect(
    form: SpecForm,
    data: DataFields,
    uploads: dataset_uploads.UploadParts,
    recipe: gr.Radio,
    problem: gr.HTML,
    engine: Engine,
) -> None:
    """problem: where a refused upload is said."""
    source = form.component("dataset.source", gr.Dropdown)
    name = form.component("name", gr.Textbox)
    mixture = form.component("dataset.mixture", gr.Textbox)
    columns, records = data.columns, data.records
    naming = [source, mixture, *map(form.component, ("dataset.config", "dataset.split"))]

    def offer_columns(values: Mapping[Component, Any]) -> Update:
        try:
            spec = spec_from(form.document(values)).dataset
            found = first_records(spec, engine.settings, RECORDS)
        except EngineError:  # the viewer says what is wrong with the dataset
            found = ()
        choices = column_names(found)
        shown: Update = {column: gr.Dropdown(choices=list(choices)) for column in columns}
        return {**shown, records: records_html([one.value for one in found])}

    def choose_one() -> Update:
        return {**dict.fromkeys(columns), mixture: ""}

    def leave_example(dataset: str | None, run_name: str) -> Update:
        return {name: dataset_uploads.run_name_for(dataset, run_name), recipe: None}

    changes = [field.change for field in naming]
    wire(changes, offer_columns, {*naming}, [*columns, records], problem=problem_box(),
         trigger_mode="always_last")  # fmt: skip
    wire([source.input], choose_one, [], [*columns, mixture], problem=problem_box())
    outputs = [name, recipe]
    wire([source.input], leave_example, [source, name], outputs, problem=problem_box())
    fields = dataset_uploads.DatasetFields(source, name, recipe, columns, mixture)
    dataset_uploads.connect(uploads, engine, fields, problem)
