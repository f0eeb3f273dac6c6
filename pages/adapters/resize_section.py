"""The tab "Resize": the opened adapter at a smaller rank, and what that loses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import gradio as gr

from lora_engine.adapter_operations import (
    ResizeReport,
    ResizeTarget,
)
from lora_engine.adapters import name_from
from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from pages.adapters.parts import AdapterParts, opened_adapter
from pages.adapters.resize_figure import curve_figure
from pages.adapters.resize_held_out import connect_held_out, held_out_view
from pages.adapters.resize_work import (
    measuring,
    resize_endpoint,
    resize_target,
    resizing,
    weighing,
)
from pages.adapters.size_fields import SizeFields, size_fields
from pages.adapters.writing import (
    OutputFields,
    compare_steps_html,
    doing_html,
    losses_or_why,
    losses_table,
    losses_value,
    modules_table,
    output_fields,
    rank_span,
)
from pages.shared import figures, layout
from pages.shared.adapter_choices import adapter_key
from pages.shared.background_work import (
    ProgressRow,
    TabTask,
    TabTasks,
    connect_stop,
    progress_row,
)
from pages.shared.live import Column, live_plot, table_value
from pages.shared.static_files import event_js
from pages.shared.wiring import Update, expose, wire

HELP = translatable(r"""
Each module's update $\Delta W = s\,B A$ is taken apart into $\sum_i \sigma_i u_i v_i^T$ from the
factors alone, and its first $k$ directions are kept. No update of rank $k$ is nearer to it (Eckart
and Young 1936), and what is lost is known:

$$\|\Delta W - \Delta W_k\|_F = \sqrt{\sum_{i>k} \sigma_i^2}, \qquad
E_k = \sum_{i \le k} \sigma_i^2 \Big/ \sum_i \sigma_i^2$$

where $E_k$ is the share of the energy that is kept.

**Rank** cuts every module alike. **Energy** keeps that share in every module, so ranks differ.
**Threshold** keeps every direction of at least $\sigma$, wherever it is: the ranks go where the
spectrum is. The configuration says each module's own rank and alpha, so any PEFT loads it and
every module keeps its scaling $s$.

**Example.** $\sigma = 3, 1, 0.5$ at rank 1 keeps $9 / 10.25 = 87.8\,\%$ of the energy; the error
is $\sqrt{1 + 0.25} = 1.118$.

Energy is not loss: small directions may matter. So the loss on the adapter's held-out rows, and on
general questions (what was forgotten), is measured before and after, and at each size where you ask
for it.
""")
COLUMNS = (
    Column(translatable("module")),
    Column(translatable("rank before"), layout.count, numeric=True),
    Column(translatable("rank after"), layout.count, numeric=True),
    Column(translatable("energy kept"), layout.share, numeric=True),
    Column(translatable("error"), layout.number, numeric=True),
)


@dataclass(frozen=True)
class ResizeFields:
    """To which size, and under which name."""

    size: SizeFields
    output: OutputFields


@dataclass(frozen=True)
class SizesView:
    """Before: the curve of possible sizes, and the chosen one in numbers."""

    curve: gr.HTML
    chosen: gr.HTML


@dataclass(frozen=True)
class ResizeView:
    """What came out: numbers, losses, modules, and where to go with it."""

    summary: gr.HTML
    losses: gr.HTML
    modules: gr.HTML
    next_steps: gr.HTML

    @property
    def outputs(self) -> list:
        return [self.summary, self.losses, self.modules, self.next_steps]


def build_section(engine: Engine, parts: AdapterParts, blocks: gr.Blocks) -> None:
    gr.HTML(
        doing_html(
            tr("Keep the directions that carry the update, and see what the others were worth.")
        ),
        js_on_load="",
    )
    before = SizesView(
        curve=live_plot(label=tr("Size against energy"), elem_id="resize-curve", height=300),
        chosen=gr.HTML(
            html_template='<dl class="rs-tiles"></dl>', elem_id="resize-chosen", js_on_load=""
        ),
    )
    held_out = held_out_view()
    fields = _resize_fields()
    tasks, row = TabTasks(), progress_row("resize")
    summary = gr.HTML(elem_id="resize-summary", js_on_load="")
    losses = losses_table("resize-losses")
    next_steps = gr.HTML(elem_id="resize-next", js_on_load="")
    modules = modules_table("resize-modules", "resized.csv")
    view = ResizeView(summary, losses, modules, next_steps)
    layout.how_this_works(tr(HELP), tr("How resizing works"))

    handlers = _Handlers(engine, tasks, fields, before, view, row)
    replace = fields.output.replace
    bind = partial(wire, problem=row.problem, empties=[*view.outputs, row.progress])
    wire([blocks.load], handlers.open_page, [], [fields.output.name, fields.size.rank],
         problem=row.problem)  # fmt: skip
    show = event_js("adapters/resize_curve.js", "showSize", "resize-curve", "resize-chosen")
    drawn = wire([parts.tab.select], handlers.draw_curve, [fields.size.threshold],
                 [before.curve, fields.size.threshold, *row.outputs],
                 problem=row.problem, keeps_problem=True)  # fmt: skip
    drawn.then(fn=None, inputs=fields.size.inputs, js=show, api_visibility="private")
    gr.on(
        [field.change for field in fields.size.inputs],
        fn=None,
        inputs=fields.size.inputs,
        js=show,
        api_name="page_show_size",
        api_visibility="private",
        trigger_mode="multiple",
    )
    fields.size.connect(row.problem)
    given = [parts.adapter, fields.output.name, *fields.size.inputs]
    outputs = [*view.outputs, replace, *row.outputs]
    parts.list_again(bind([fields.output.write.click], handlers.write, given, outputs).then)
    parts.list_again(bind([replace.click], handlers.replace, given, outputs).then)
    connect_stop(tasks, row)
    connect_held_out(engine, parts, held_out)
    expose(resize_endpoint(engine), "resize")


def _resize_fields() -> ResizeFields:
    size = size_fields("resize", tr("Resize to"))
    return ResizeFields(
        size,
        output_fields(
            "resize",
            tr("Resize"),
            tr("The resized adapter is listed under it: letters, digits, _, . and -."),
        ),
    )


@dataclass(frozen=True)
class _Handlers:
    """What the section's events do."""

    engine: Engine
    tasks: TabTasks
    fields: ResizeFields
    before: SizesView
    view: ResizeView
    row: ProgressRow

    def open_page(self, request: gr.Request) -> Update:
        """A name, and half the rank, for the adapter that is open."""
        found = opened_adapter(self.engine, request)
        name = name_from(f"{found.name}-resized")
        return {
            self.fields.output.name: name,
            self.fields.size.rank: max(1, (found.rank or 2) // 2),
        }

    def draw_curve(self, threshold: float | None, request: gr.Request) -> Iterator[Update]:
        """What each size of the opened adapter keeps; a threshold where none is given yet."""
        found = opened_adapter(self.engine, request)
        task = self.tasks.start(request)
        yield from self.row.until_stopped(task, self._drawn(task, adapter_key(found), threshold))

    def _drawn(self, task: TabTask, adapter: str, threshold: float | None) -> Iterator[Update]:
        curve = yield from self.row.watch(task, weighing(self.engine, adapter))
        yield {self.before.curve: figures.to_json(curve_figure(curve)), **self.row.idle()}
        if threshold is None:
            middle = curve.thresholds[len(curve.thresholds) // 2]
            yield {self.fields.size.threshold: float(f"{middle.choice:.3g}")}

    def write(
        self, adapter: str | None, name: str, kind: str, rank: float, energy: float,
        threshold: float, request: gr.Request,
    ) -> Iterator[Update]:  # fmt: skip
        target = resize_target(kind, rank, energy, threshold)
        yield from self._write(request, adapter, name, target, overwrite=False)

    def replace(
        self, adapter: str | None, name: str, kind: str, rank: float, energy: float,
        threshold: float, request: gr.Request,
    ) -> Iterator[Update]:  # fmt: skip
        target = resize_target(kind, rank, energy, threshold)
        yield from self._write(request, adapter, name, target, overwrite=True)

    def _write(
        self, request: gr.Request, adapter: str | None, name: str, target: ResizeTarget,
        *, overwrite: bool,
    ) -> Iterator[Update]:  # fmt: skip
        task = self.tasks.start(request)
        updates = self._resized(task, adapter or "", name, target, overwrite)
        yield from self.row.until_stopped(task, self.fields.output.asking(updates))

    def _resized(
        self, task: TabTask, adapter: str, name: str, target: ResizeTarget, overwrite: bool
    ) -> Iterator[Update]:
        """The resized adapter in numbers, then the losses before and after."""
        output = self.engine.adapter_operations.adapter_folder(name)
        source = self.engine.adapters.get(adapter)
        yield dict.fromkeys(self.view.outputs, "")
        before = adapter_key(source)
        done = yield from self.row.watch(
            task, resizing(self.engine, before, output, target, overwrite)
        )
        pair = [before, str(done.path)]
        yield {
            self.view.summary: summary_html(done),
            self.view.modules: table_value(COLUMNS, [_row(one) for one in done.modules]),
            self.view.next_steps: compare_steps_html(pair, tr("Compare the two")),
            **self.row.working(0.0, tr("measuring the losses before and after")),
        }
        found = yield from losses_or_why(self.row, task, measuring(self.engine, pair, [before]))
        if found is None:
            return
        called = {pair[0]: source.name, pair[1]: name}
        yield {
            self.view.losses: losses_value(found, called),
            **self.row.idle(layout.notes_html(found.notes)),
        }


def summary_html(done: ResizeReport) -> str:
    """Size, energy, error and ranks, as tiles."""
    ranks = [one.new_rank for one in done.modules]
    low, high = min(ranks), max(ranks)
    old, new = layout.byte_size(done.old_bytes), layout.byte_size(done.new_bytes)
    return layout.tiles_html(
        [
            (tr("Size"), new, tr("before {size}", size=old)),
            (tr("Energy kept"), layout.share(done.energy), tr("of Σσ² over all modules")),
            (tr("Error"), layout.number(done.error), tr("‖ΔW − ΔW_k‖ over all modules")),
            (tr("Rank"), rank_span(low, high), str(done.path)),
        ]
    )


def _row(one) -> tuple:
    return one.name, one.old_rank, one.new_rank, one.energy, one.error
