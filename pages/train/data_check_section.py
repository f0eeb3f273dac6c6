"""The data check on the train page: what is wrong with the chosen set, and a cleaned one.

Knows the form; what is looked for, and what may be dropped, is the engine's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from lora_engine.data import CleanedSet, DataCheck, kinds_named
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spec import RunSpec, spec_from
from pages.shared import layout
from pages.shared.background_work import (
    ProgressRow,
    TabTask,
    TabTasks,
    connect_stop,
    progress_row,
)
from pages.shared.forms import Field, SpecForm
from pages.shared.settled_changes import SettledChanges
from pages.shared.wiring import Update, problem_box, wire
from pages.train import data_check_html
from pages.train.dataset_uploads import library_choices
from pages.train.form_fields import COLUMNS, dataset_choices

HOW_READ = ("dataset.mixture", "dataset.config", "dataset.split", "dataset.format", *COLUMNS)


@dataclass(frozen=True)
class DataCheckParts:
    """The section. cleaning: hidden until something is found that may be dropped."""

    check: gr.Button
    row: ProgressRow
    findings: gr.HTML
    cleaning: gr.Column
    drop: gr.CheckboxGroup
    clean: gr.Button
    written: gr.HTML


@dataclass(frozen=True)
class FilledFields:
    """The fields that a cleaned set fills: the form's dataset and the library's list.

    how_read: what says how the set before is read; a cleaned one is read by itself, so that these
    have their defaults again.
    """

    source: gr.Dropdown
    library: gr.Dropdown
    how_read: Update

    @classmethod
    def of(cls, form: SpecForm, library: gr.Dropdown) -> FilledFields:
        opening = form.filled(spec_from({}))
        how_read = map(form.component, HOW_READ)
        source = form.component("dataset.source", gr.Dropdown)
        return cls(source, library, {field: opening[field] for field in how_read})

    @property
    def outputs(self) -> list[Block]:
        return [self.source, self.library, *self.how_read]


def lay_out() -> DataCheckParts:
    """Lay the section out; `connect` makes it work."""
    with layout.folded(tr("Check the data, row by row"), "data-check"):
        layout.section(
            tr("What is wrong with these rows?"),
            tr("Every row is looked at, and counted in the base model's tokens."),
        )
        check = gr.Button(tr("Check every row"), size="sm", elem_id="check-data")
        row = progress_row("data-check")
        findings = gr.HTML(elem_id="data-findings", js_on_load="")
        with gr.Column(visible="hidden", elem_id="data-cleaning") as cleaning:
            drop = gr.CheckboxGroup(
                [],
                label=tr("Leave out rows with"),
                info=tr("The cleaned set is a new file in your library; this one stays as it is."),
                elem_id="data-drop",
            )
            clean = gr.Button(tr("Write the cleaned set"), size="sm", elem_id="clean-data")
        written = gr.HTML(elem_id="data-cleaned", js_on_load="")
    return DataCheckParts(check, row, findings, cleaning, drop, clean, written)


def connect(
    parts: DataCheckParts, form: SpecForm, deciding: SettledChanges, filled: FilledFields,
    engine: Engine,
) -> None:  # fmt: skip
    """deciding: the form's fields that say what the rows are. A change takes the findings away, and
    ends a check of the rows before."""
    tasks = TabTasks()
    handlers = _Handlers(engine, tasks, form, deciding.fields, parts, filled)
    results = [parts.findings, parts.cleaning, parts.drop, parts.written]
    problem = parts.row.problem
    inputs: set[Component] = set(deciding.fields)
    wire([parts.check.click], handlers.check, inputs, [*results, *parts.row.outputs],
         problem=problem, empties=[parts.findings, parts.written, parts.row.progress])  # fmt: skip
    wire([parts.clean.click], handlers.clean, inputs | {parts.drop},
         [*results, *filled.outputs, *parts.row.outputs],
         problem=problem, empties=[parts.written, parts.row.progress])  # fmt: skip
    wire([deciding.trigger], handlers.forget, inputs, [parts.findings, parts.cleaning],
         problem=problem, queue=False)  # fmt: skip
    connect_stop(tasks, parts.row)


def connect_warnings(
    warnings: gr.HTML,
    form: SpecForm,
    deciding: SettledChanges,
    engine: Engine,
) -> None:
    """What the data alone says against the run, as the form stands."""
    of_method = [form.component(f"method.{name}") for name in ("finetuning_type", "rank")]

    def warn(values: Mapping[Component, Any]) -> Update:
        try:
            found = engine.advisor.early_warnings(spec_from(form.document(values)))
        except EngineError:  # the viewer of the rows says what is wrong with the fields
            found = ()
        return {warnings: data_check_html.warnings_html(found)}

    triggers = [deciding.trigger, *(field.change for field in of_method)]
    wire(triggers, warn, {*deciding.fields, *of_method}, [warnings], problem=problem_box(),
         follows=True)  # fmt: skip


@dataclass(frozen=True)
class _Handlers:
    """What the buttons do."""

    engine: Engine
    tasks: TabTasks
    form: SpecForm
    deciding: Sequence[Field]
    parts: DataCheckParts
    filled: FilledFields

    def check(self, values: Mapping[Component, Any], request: gr.Request) -> Iterator[Update]:
        """Look at every row; the findings, and which of them may be dropped."""
        spec, task = self._begin(values, request)
        yield from self.parts.row.until_stopped(task, self._checked(task, spec))

    def clean(self, values: Mapping[Component, Any], request: gr.Request) -> Iterator[Update]:
        """Write the set without the chosen rows, and choose it on the form."""
        spec, task = self._begin(values, request)
        chosen = values[self.parts.drop] or []
        yield from self.parts.row.until_stopped(task, self._cleaned(task, spec, chosen))

    def forget(self, values: Mapping[Component, Any], request: gr.Request) -> Update:
        """Findings belong to the rows that were checked."""
        if self.tasks.stop_unless_asked(request, self.form.document(values)):
            return gr.skip()
        return {self.parts.findings: "", self.parts.cleaning: gr.Column(visible="hidden")}

    def _begin(
        self, values: Mapping[Component, Any], request: gr.Request
    ) -> tuple[RunSpec, TabTask]:
        """The spec in the form, and a task whose question is what the form says of the rows."""
        document = self.form.document({field: values[field] for field in self.deciding})
        return spec_from(document), self.tasks.start(request, document)

    def _checked(self, task: TabTask, spec: RunSpec) -> Iterator[Update]:
        check: DataCheck = yield from self.parts.row.watch(
            task, lambda report, stop: self.engine.datasets.check(spec, report, stop)
        )
        choices = [
            (f"{tr(one.kind.title)} ({layout.count(len(one.places))})", one.kind.label)
            for one in check.findings
        ]
        yield {
            self.parts.findings: data_check_html.findings_html(check),
            self.parts.cleaning: gr.Column(visible=True if choices else "hidden"),
            self.parts.drop: gr.CheckboxGroup(choices=choices, value=[]),
            self.parts.written: "",
            **self.parts.row.idle(),
        }

    def _cleaned(self, task: TabTask, spec: RunSpec, chosen: Sequence[str]) -> Iterator[Update]:
        kinds = kinds_named(chosen)
        cleaned: CleanedSet = yield from self.parts.row.watch(
            task,
            lambda report, stop: self.engine.datasets.save_cleaned(spec, kinds, report, stop),
        )
        yield {
            **self.filled.how_read,
            self.parts.written: data_check_html.cleaned_html(cleaned),
            self.filled.source: gr.Dropdown(
                choices=dataset_choices(self.engine), value=cleaned.path
            ),
            self.filled.library: gr.Dropdown(
                choices=library_choices(self.engine), value=cleaned.path
            ),
            **self.parts.row.idle(),
        }
