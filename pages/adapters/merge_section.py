"""The tab "Merge": the opened adapter written into the weights of its base, with what that cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.adapters import name_from
from lora_engine.base_models import STARTER
from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from pages.adapters.merge_html import WEIGHTS, next_html, summary_html, variants_value
from pages.adapters.merge_work import MergeRequest, merge_endpoint, merging
from pages.adapters.parts import AdapterParts, opened_adapter
from pages.adapters.writing import OutputFields, doing_html, output_fields
from pages.shared import layout
from pages.shared.background_work import (
    ProgressRow,
    TabTask,
    TabTasks,
    connect_stop,
    progress_row,
)
from pages.shared.live import live_table
from pages.shared.wiring import Update, expose, wire

HELP = translatable(r"""
Every weight that the adapter was trained on becomes

$$W' = W + s\,B A, \qquad W' = \frac{m}{\lVert W + s\,B A\rVert}\,(W + s\,B A)$$

(the second with DoRA, row by row) in float64, rounded once to its type; everything else is
copied. The model that comes out needs no PEFT: transformers, vLLM and the rest load it as any
other, and here it is a base model.

**The proof.** The written files are loaded again and asked on rows the adapter never saw, beside
the base with the adapter. The largest difference of two logits $\max |z' - z|$ and

$$\mathrm{KL} = \frac{1}{N} \sum_{n=1}^{N} \sum_i p_i \ln \frac{p_i}{q_i}$$

($p$ unmerged, $q$ merged) say how far the two are apart. Nothing but rounding keeps them from
being 0.

**Example.** A weight of 1 and an update of 0.003 make 1.003. In bfloat16 the nearest number is 1:
this update is lost. In float16 it is 1.00293.

**A quantized base.** The adapter learned beside rounded weights. Merged into these, widened to 16
bits, it answers as it was trained; merged into the original weights it does not answer quite so,
and may be better or worse. Where both are there both are measured, and the one you choose is kept.
The output is never quantized: rounding it again would cost about as much as the adapter changed.
""")
DTYPES = [
    (translatable("as the base stores them"), ""),
    ("bfloat16", "bfloat16"),
    ("float16", "float16"),
    ("float32", "float32"),
]


@dataclass(frozen=True)
class MergeFields:
    """Into what, in which numbers, with a proof or without, and under which name."""

    base: gr.Dropdown
    dtype: gr.Dropdown
    quantized: gr.Column
    weights: gr.Radio
    original: gr.Dropdown
    prove: gr.Checkbox
    output: OutputFields

    def inputs(self, adapter: Component) -> set[Component]:
        """What `request` reads."""
        return {
            adapter, self.base, self.dtype, self.weights, self.original, self.prove,
            self.output.name,
        }  # fmt: skip

    def request(self, values: Mapping[Component, Any], adapter: Component) -> MergeRequest:
        return MergeRequest(
            adapter=values[adapter] or "",
            name=values[self.output.name],
            base=values[self.base] or None,
            dtype=values[self.dtype] or None,
            weights=values[self.weights],
            original=values[self.original] or None,
            prove=values[self.prove],
        )


@dataclass(frozen=True)
class MergeView:
    """What came out: numbers, both bases of a quantized one, and where to go with it."""

    summary: gr.HTML
    variants: gr.HTML
    next_steps: gr.HTML

    @property
    def outputs(self) -> list[gr.HTML]:
        return [self.summary, self.variants, self.next_steps]


def build_section(engine: Engine, parts: AdapterParts, blocks: gr.Blocks) -> None:
    gr.HTML(
        doing_html(
            tr(
                "Write the adapter into the weights of its base: one model, which every program "
                "loads, with no adapter beside it."
            )
        ),
        js_on_load="",
    )
    fields = _fields()
    tasks, row = TabTasks(), progress_row("merge")
    view = MergeView(
        summary=gr.HTML(elem_id="merge-summary", js_on_load=""),
        variants=live_table(
            label=tr("Merged into either base"), file_name="merged.csv", elem_id="merge-variants"
        ),
        next_steps=gr.HTML(elem_id="merge-next", js_on_load=""),
    )
    layout.how_this_works(tr(HELP), tr("How merging works"))

    handlers = _Handlers(engine, tasks, fields, parts.adapter, view, row)
    wire([blocks.load], handlers.open_page, [],
         [fields.base, fields.original, fields.output.name, view.summary],
         problem=row.problem)  # fmt: skip
    wire([parts.tab.select, fields.base.input], handlers.show_choices, [fields.base],
         [fields.quantized, fields.weights, fields.original],
         problem=row.problem, trigger_mode="always_last")  # fmt: skip
    bind = partial(
        wire,
        inputs=fields.inputs(parts.adapter),
        outputs=[*view.outputs, fields.output.replace, *row.outputs],
        problem=row.problem,
        empties=[*view.outputs, row.progress],
    )
    bind([fields.output.write.click], handlers.write)
    bind([fields.output.replace.click], handlers.replace)
    connect_stop(tasks, row)
    expose(merge_endpoint(engine), "merge")


def _fields() -> MergeFields:
    with gr.Row():
        base = _model_field(tr("Base"), tr("The model it was trained on."), "merge-base")
        dtype = gr.Dropdown(
            [(tr(words), name) for words, name in DTYPES], value="", label=tr("Numbers"),
            elem_id="merge-dtype", min_width=240,
            info=tr("The type of all weights that are written."),
        )  # fmt: skip
    with gr.Column(visible=False, elem_id="merge-quantized") as quantized:
        weights = gr.Radio(
            [(tr(words), weights) for weights, words in WEIGHTS.items()],
            value=None, label=tr("Merge into"), elem_id="merge-weights",
            info=tr("The adapter was trained on quantized weights. Where both are there, both are "
            "measured, and the ones chosen here are kept."),
        )  # fmt: skip
        original = _model_field(
            tr("Original model"),
            tr("The 16-bit model that this base was made from, if it is here."),
            "merge-original",
        )  # fmt: skip
    prove = gr.Checkbox(
        True, label=tr("Prove it: load the merged model and measure it"), elem_id="merge-prove",
        info=tr("Needs memory for the model."),
    )  # fmt: skip
    output = output_fields(
        "merge",
        tr("Merge"),
        tr("The merged model is listed under it: letters, digits, _, . and -."),
    )
    return MergeFields(base, dtype, quantized, weights, original, prove, output)


def _model_field(label: str, info: str, elem_id: str) -> gr.Dropdown:
    return gr.Dropdown(
        [], value=None, label=label, info=info, allow_custom_value=True, elem_id=elem_id,
        min_width=240,
    )  # fmt: skip


@dataclass(frozen=True)
class _Handlers:
    """What the section's events do."""

    engine: Engine
    tasks: TabTasks
    fields: MergeFields
    adapter: gr.Dropdown
    view: MergeView
    row: ProgressRow

    def open_page(self, request: gr.Request) -> Update:
        """The base and a name for the adapter that is open."""
        found = opened_adapter(self.engine, request)
        names = self.engine.base_models.names()
        return {
            self.fields.base: gr.Dropdown(choices=names, value=found.base_model or STARTER),
            self.fields.original: gr.Dropdown(choices=names),
            self.fields.output.name: name_from(f"{found.name}-merged"),
        }

    def show_choices(self, base: str | None, request: gr.Request) -> Update:
        """What a quantized base leaves to choose."""
        found = opened_adapter(self.engine, request)
        bases = self.engine.adapter_operations.merge_bases(found.path, base)
        is_quantized = bases.possible[0] == "dequantized"
        return {
            self.fields.quantized: gr.Column(visible=is_quantized),
            self.fields.weights: bases.possible[0] if is_quantized else None,
            self.fields.original: gr.Dropdown(visible=bases.stored is not None),
        }

    def write(self, values: Mapping[Component, Any], request: gr.Request) -> Iterator[Update]:
        yield from self._write(values, request, overwrite=False)

    def replace(self, values: Mapping[Component, Any], request: gr.Request) -> Iterator[Update]:
        yield from self._write(values, request, overwrite=True)

    def _write(
        self, values: Mapping[Component, Any], request: gr.Request, *, overwrite: bool
    ) -> Iterator[Update]:
        asked = self.fields.request(values, self.adapter)
        task = self.tasks.start(request)
        updates = self._merged(task, asked, overwrite)
        yield from self.row.until_stopped(task, self.fields.output.asking(updates))

    def _merged(self, task: TabTask, asked: MergeRequest, overwrite: bool) -> Iterator[Update]:
        work = merging(self.engine, asked, overwrite)
        yield dict.fromkeys(self.view.outputs, "")
        done = yield from self.row.watch(task, work)
        yield {
            self.view.summary: summary_html(done),
            self.view.variants: variants_value(done),
            self.view.next_steps: next_html(asked.name, done.path),
            **self.row.idle(layout.notes_html(done.notes)),
        }
