"""Before an adapter is resized: its held-out loss at each size, measured where one asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import gradio as gr

from lora_engine.adapter_operations import HeldOutAtRanks, RankLoss
from lora_engine.adapters import AdapterSummary
from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from pages.adapters.parts import AdapterParts
from pages.adapters.resize_figure import losses_figure
from pages.adapters.resize_work import measuring_ranks
from pages.shared import figures, layout
from pages.shared.adapter_choices import adapter_key
from pages.shared.background_work import (
    ProgressRow,
    TabTask,
    TabTasks,
    connect_stop,
    progress_row,
)
from pages.shared.live import Cell, Column, live_plot, live_table, table_value
from pages.shared.wiring import Update, wire

COLUMNS = (
    Column(translatable("rank"), layout.count, numeric=True),
    Column(translatable("size"), layout.byte_size, numeric=True),
    Column(translatable("energy kept"), layout.share, numeric=True),
    Column(translatable("held-out loss"), layout.number, numeric=True),
    Column(translatable("change"), layout.number, numeric=True),
    Column(translatable("loss on general questions"), layout.number, numeric=True),
)


@dataclass(frozen=True)
class HeldOutView:
    """The button, and the losses at each size."""

    measure: gr.Button
    row: ProgressRow
    words: gr.HTML
    plot: gr.HTML
    table: gr.HTML

    @property
    def outputs(self) -> list[gr.HTML]:
        return [self.words, self.plot, self.table]


def held_out_view() -> HeldOutView:
    with gr.Row(elem_classes="rs-actions"):
        measure = gr.Button(tr("Measure the held-out loss at each size"), elem_id="resize-measure")
    row = progress_row("resize-measuring")
    words = gr.HTML(elem_id="resize-measured", js_on_load="")
    plot = live_plot(label=tr("Held-out loss at each rank"), elem_id="resize-loss-plot", height=280)
    table = live_table(
        label=tr("Held-out loss at each rank"), file_name="loss-at-ranks.csv",
        elem_id="resize-loss-table",
    )  # fmt: skip
    return HeldOutView(measure, row, words, plot, table)


def connect_held_out(engine: Engine, parts: AdapterParts, view: HeldOutView) -> None:
    tasks = TabTasks()
    handlers = _Handlers(engine, tasks, view)
    wire([view.measure.click], handlers.measure, [parts.adapter],
         [*view.outputs, *view.row.outputs], problem=view.row.problem,
         empties=[*view.outputs, view.row.progress])  # fmt: skip
    connect_stop(tasks, view.row)


@dataclass(frozen=True)
class _Handlers:
    """What the button does."""

    engine: Engine
    tasks: TabTasks
    view: HeldOutView

    def measure(self, adapter: str | None, request: gr.Request) -> Iterator[Update]:
        """The losses at the powers of two up to the adapter's rank."""
        found = self.engine.adapters.get(adapter or "")
        task = self.tasks.start(request)
        yield from self.view.row.until_stopped(task, self._measured(task, found))

    def _measured(self, task: TabTask, adapter: AdapterSummary) -> Iterator[Update]:
        view = self.view
        losses = yield from view.row.watch(task, measuring_ranks(self.engine, adapter_key(adapter)))
        yield {
            view.words: losses_html(losses, adapter.name),
            view.plot: figures.to_json(losses_figure(losses)),
            view.table: table_value(COLUMNS, [_row(one) for one in losses.ranks]),
            **view.row.idle(),
        }


def losses_html(losses: HeldOutAtRanks, name: str) -> str:
    """What was measured, in a sentence."""
    sentence = tr(
        "On {rows} of {name}'s held-out rows, in nats a token: the base {base}, the adapter as it "
        "is {own}. The change at each rank is from the adapter as it is; below 0 is better.",
        rows=f"{losses.rows:,}", name=name, base=layout.number(losses.base_loss),
        own=layout.number(losses.loss),
    )  # fmt: skip
    words = f'<p class="rs-adapter-words">{escape(sentence)}</p>'
    return words + layout.notes_html(losses.notes)


def _row(one: RankLoss) -> tuple[Cell, ...]:
    return one.rank, one.bytes, one.energy, one.loss, one.change, one.general_loss
