"""Before adapters are combined: whether they will collide, and how the result sounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.adapter_operations import WeightedAdapter
from lora_engine.engine import Engine
from lora_engine.language import tr
from pages.adapters.combine_fields import CombineFields
from pages.adapters.combine_view import collisions_html, meetings_value, trial_html
from pages.adapters.combine_work import (
    Mixture,
    adapter_names,
    beside,
    in_words,
    predicting,
    trying,
)
from pages.shared.background_work import (
    ProgressRow,
    TabTask,
    TabTasks,
    connect_stop,
    progress_row,
)
from pages.shared.live import live_table
from pages.shared.wiring import Update, wire


@dataclass(frozen=True)
class BeforeView:
    """The two questions, and the answers."""

    predict: gr.Button
    hear: gr.Button
    row: ProgressRow
    collisions: gr.HTML
    meetings: gr.HTML
    trial: gr.HTML

    @property
    def answers(self) -> list[gr.HTML]:
        return [self.collisions, self.meetings, self.trial]


def before_view() -> BeforeView:
    with gr.Row(elem_classes="rs-actions"):
        predict = gr.Button(tr("Will they collide?"), elem_id="combine-predict")
        hear = gr.Button(tr("Hear it before it is written"), elem_id="combine-hear")
    row = progress_row("combine-before")
    trial = gr.HTML(elem_id="combine-trial", js_on_load="")
    collisions = gr.HTML(elem_id="combine-collisions", js_on_load="")
    meetings = live_table(
        label=tr("Predicted interference"), file_name="interference.csv", elem_id="combine-meetings"
    )
    return BeforeView(predict, hear, row, collisions, meetings, trial)


def connect_before(engine: Engine, fields: CombineFields, view: BeforeView) -> None:
    tasks = TabTasks()
    handlers = _Handlers(engine, tasks, fields, view)
    bind = partial(wire, inputs=fields.inputs, problem=view.row.problem)
    predicted = [view.collisions, view.meetings]
    bind([view.predict.click], handlers.predict, outputs=[*predicted, *view.row.outputs],
         empties=[*predicted, view.row.progress])  # fmt: skip
    bind([view.hear.click], handlers.hear, outputs=[view.trial, *view.row.outputs],
         empties=[view.trial, view.row.progress])  # fmt: skip
    connect_stop(tasks, view.row)


@dataclass(frozen=True)
class _Handlers:
    """What the two questions do."""

    engine: Engine
    tasks: TabTasks
    fields: CombineFields
    view: BeforeView

    def predict(self, given: Mapping[Component, Any], request: gr.Request) -> Iterator[Update]:
        """The predicted interference."""
        sources = self.fields.sources(given)
        task = self.tasks.start(request)
        yield from self.view.row.until_stopped(task, self._predicted(task, sources))

    def _predicted(self, task: TabTask, sources: tuple[WeightedAdapter, ...]) -> Iterator[Update]:
        view, what = self.view, in_words(self.engine, sources)
        met = yield from view.row.watch(task, predicting(self.engine, sources))
        called = adapter_names(self.engine, [str(one.path) for one in sources])
        yield {
            view.collisions: collisions_html(met, what),
            view.meetings: meetings_value(met, [called[str(one.path)] for one in sources]),
            **view.row.idle(),
        }

    def hear(self, given: Mapping[Component, Any], request: gr.Request) -> Iterator[Update]:
        """A trial, and the way to Compare."""
        asked = self.fields.mixture(given)
        task = self.tasks.start(request)
        yield from self.view.row.until_stopped(task, self._tried(task, asked))

    def _tried(self, task: TabTask, asked: Mixture) -> Iterator[Update]:
        view = self.view
        done = yield from view.row.watch(task, trying(self.engine, asked))
        columns = beside(asked.sources, done.path)
        words = in_words(self.engine, asked.sources)
        yield {view.trial: trial_html(done, words, columns), **view.row.idle()}
