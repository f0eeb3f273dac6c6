"""The tab "Extract": what a full fine-tuning changed, as an adapter. It needs no adapter open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.adapters import name_from
from lora_engine.base_models import STARTER
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from pages.adapters.extract_html import losses_html, modules_value, next_html, summary_html
from pages.adapters.extract_work import ExtractRequest, extract_endpoint, extracting, measuring
from pages.adapters.parts import AdapterParts
from pages.adapters.resize_work import ENERGY, resize_target
from pages.adapters.size_fields import SizeFields, size_fields
from pages.adapters.writing import (
    OutputFields,
    doing_html,
    losses_or_why,
    modules_table,
    output_fields,
)
from pages.shared import layout
from pages.shared.background_work import (
    ProgressRow,
    TabTask,
    TabTasks,
    connect_stop,
    progress_row,
)
from pages.shared.base_choices import list_bases_at_opening
from pages.shared.wiring import Update, expose, wire

HELP = translatable(r"""
For every matrix that the two models do not have in common

$$\Delta W = W_{\text{tuned}} - W_{\text{base}} = U \Sigma V^T, \qquad
B = U_k \sqrt{\Sigma_k}, \quad A = \sqrt{\Sigma_k}\, V_k^T$$

with scaling 1. No other update of rank $k$ is nearer (Eckart and Young 1936); what is left out is
$\sqrt{\sum_{i>k} \sigma_i^2}$. Linear layers, Conv1D and embeddings become factors; norms, and
matrices whose factors would be no smaller than they are, go along whole (`modules_to_save`).

**Rank** cuts every module alike. **Energy** keeps that share of $\sum \sigma^2$ in every module.
**Threshold** keeps every direction of at least $\sigma$. Checkpoints in 16 bits carry rounding
noise: directions below its Marchenko–Pastur edge are not counted for the last two.

**Example.** $\sigma = 3, 1, 0.5$ at rank 1 keeps $9 / 10.25 = 87.8\,\%$ of the energy.

A full fine-tuning often has many small directions, so little energy may be kept at a rank that
keeps most of what was learned. The losses on rows say which it is: base, tuned model, and base with
the adapter, on the same tokens.
""")


@dataclass(frozen=True)
class ExtractFields:
    """From which two models, to which size, measured on what, and under which name."""

    base: gr.Dropdown
    tuned: gr.Dropdown
    size: SizeFields
    rows: gr.Dropdown
    output: OutputFields

    @property
    def inputs(self) -> set[Component]:
        """What `request` reads."""
        return {self.base, self.tuned, *self.size.inputs, self.rows, self.output.name}

    def request(self, values: Mapping[Component, Any]) -> ExtractRequest:
        """Raises EngineError for a model that is not chosen, and a size that is none."""
        base, tuned = values[self.base], values[self.tuned]
        if not base or not tuned:
            raise EngineError(tr("Two models are needed."), tr("Choose a base and a tuned model."))
        return ExtractRequest(
            base=base,
            tuned=tuned,
            name=values[self.output.name],
            target=resize_target(*(values[field] for field in self.size.inputs)),
            rows=values[self.rows] or None,
        )


@dataclass(frozen=True)
class ExtractView:
    """What came out: numbers, losses, modules, and where to go with it."""

    summary: gr.HTML
    losses: gr.HTML
    modules: gr.HTML
    next_steps: gr.HTML

    @property
    def outputs(self) -> list[gr.HTML]:
        return [self.summary, self.losses, self.modules, self.next_steps]


def build_section(engine: Engine, parts: AdapterParts, blocks: gr.Blocks) -> None:
    gr.HTML(
        doing_html(
            tr(
                "Take what a full fine-tuning changed out of the tuned model, as a small adapter "
                "on its base."
            )
        ),
        js_on_load="",
    )
    fields = _fields()
    tasks, row = TabTasks(), progress_row("extract")
    summary = gr.HTML(elem_id="extract-summary", js_on_load="")
    losses = gr.HTML(elem_id="extract-losses", js_on_load="")
    next_steps = gr.HTML(elem_id="extract-next", js_on_load="")
    modules = modules_table("extract-modules", "extracted.csv")
    view = ExtractView(summary, losses, modules, next_steps)
    layout.how_this_works(tr(HELP), tr("How extracting works"))

    handlers = _Handlers(engine, tasks, fields, view, row)
    list_bases_at_opening(engine, blocks, [fields.base, fields.tuned], row.problem)
    wire([blocks.load], handlers.list_rows, [], [fields.rows], problem=row.problem)
    wire([fields.tuned.input], handlers.suggest_name, [fields.tuned], [fields.output.name],
         problem=row.problem)  # fmt: skip
    fields.size.connect(row.problem)
    bind = partial(
        wire,
        inputs=fields.inputs,
        outputs=[*view.outputs, fields.output.replace, *row.outputs],
        problem=row.problem,
        empties=[*view.outputs, row.progress],
    )
    parts.list_again(bind([fields.output.write.click], handlers.write).then)
    parts.list_again(bind([fields.output.replace.click], handlers.replace).then)
    connect_stop(tasks, row)
    expose(extract_endpoint(engine), "extract")


def _fields() -> ExtractFields:
    with gr.Row():
        base = _choice(
            tr("Base"), tr("The model before: its name or its folder."), "extract-base", STARTER
        )
        tuned = _choice(
            tr("Tuned"),
            tr("The same model after it was trained as a whole: name, folder or file."),
            "extract-tuned",
        )  # fmt: skip
    size = size_fields("extract", tr("Extract to"), ENERGY, rank=16)
    rows = _choice(
        tr("Measure on"), tr("Rows for the three losses; may stay empty."), "extract-rows"
    )
    output = output_fields(
        "extract",
        tr("Extract"),
        tr("The extracted adapter is listed under it: letters, digits, _, . and -."),
    )
    return ExtractFields(base, tuned, size, rows, output)


def _choice(label: str, info: str, elem_id: str, value: str | None = None) -> gr.Dropdown:
    return gr.Dropdown(
        [value] if value else [], value=value, label=label, info=info, allow_custom_value=True,
        elem_id=elem_id, min_width=240,
    )  # fmt: skip


@dataclass(frozen=True)
class _Handlers:
    """What the section's events do."""

    engine: Engine
    tasks: TabTasks
    fields: ExtractFields
    view: ExtractView
    row: ProgressRow

    def list_rows(self) -> Update:
        """The datasets that are here."""
        names = [one.name for one in self.engine.datasets.list()]
        return {self.fields.rows: gr.Dropdown(choices=["", *names])}

    def suggest_name(self, tuned: str | None) -> str:
        """A name after the last part of the tuned model's."""
        return name_from(f"{(tuned or '').rstrip('/').rpartition('/')[2]}-extracted")

    def write(self, values: Mapping[Component, Any], request: gr.Request) -> Iterator[Update]:
        yield from self._write(values, request, overwrite=False)

    def replace(self, values: Mapping[Component, Any], request: gr.Request) -> Iterator[Update]:
        yield from self._write(values, request, overwrite=True)

    def _write(
        self, values: Mapping[Component, Any], request: gr.Request, *, overwrite: bool
    ) -> Iterator[Update]:
        asked = self.fields.request(values)
        task = self.tasks.start(request)
        updates = self._extracted(task, asked, overwrite)
        yield from self.row.until_stopped(task, self.fields.output.asking(updates))

    def _extracted(self, task: TabTask, asked: ExtractRequest, overwrite: bool) -> Iterator[Update]:
        """The adapter in numbers, then the losses where rows are given."""
        work = extracting(self.engine, asked, overwrite)
        yield dict.fromkeys(self.view.outputs, "")
        done = yield from self.row.watch(task, work)
        yield {
            self.view.summary: summary_html(done),
            self.view.modules: modules_value(done),
            self.view.next_steps: next_html(done.path),
            **self.row.idle(),
        }
        if asked.rows is not None:
            yield from self._measured(task, asked, done.path, asked.rows)

    def _measured(
        self, task: TabTask, asked: ExtractRequest, adapter: Path, rows: str
    ) -> Iterator[Update]:
        """The three losses, or why there are none."""
        yield self.row.working(0.0, tr("measuring the losses"))
        work = measuring(self.engine, asked, adapter, rows)
        found = yield from losses_or_why(self.row, task, work)
        if found is not None:
            yield {self.view.losses: losses_html(found), **self.row.idle()}
