"""The tab "Combine": the opened adapter and others as one, and what became of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.adapters import name_from
from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from pages.adapters.combine_before import before_view, connect_before
from pages.adapters.combine_fields import CombineFields, combine_fields
from pages.adapters.combine_view import effects_value, effects_words, modules_value, summary_html
from pages.adapters.combine_work import (
    Mixture,
    adapter_names,
    beside,
    combine_endpoint,
    combining,
    other_choices,
    predicting,
)
from pages.adapters.parts import AdapterParts, opened_adapter
from pages.adapters.resize_work import measuring
from pages.adapters.writing import (
    OutputFields,
    compare_steps_html,
    doing_html,
    losses_or_why,
    losses_table,
    losses_value,
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
from pages.shared.live import live_table
from pages.shared.wiring import Update, expose, wire

HELP = translatable(r"""
**Exact** is the sum of the updates with weights, written without forming it:

$$\sum_i w_i s_i B_i A_i = \big[\,w_1 s_1 B_1 \;|\; w_2 s_2 B_2 \;|\; \dots\big]
\begin{bmatrix} A_1 \\ A_2 \\ \vdots \end{bmatrix}$$

Its rank is the sum of the ranks. **Reduce to rank** keeps the leading directions of each module,
and the error is $\sqrt{\sum \sigma^2}$ of the others. A negative weight takes an adapter away.

**TIES** (Yadav and others 2023) keeps the largest numbers of each factor, elects a sign for each
number and takes the mean of those that have it. **DARE** (Yu and others 2024) keeps numbers by
chance and divides them by the density. Both work on A and on B apart, as PEFT does, so they give
another update than the sum: how far from it is said.

**Will they collide?** *Overlap* is the share of one update's energy that lies in the other's
directions, $\|U_2^T \Delta W_1 V_2\|_F^2 / \|\Delta W_1\|_F^2$. *Opposite signs* is the share of
the entries where one goes up and the other down. *Cancels* is $1 - \sum|x + y| / \sum(|x| + |y|)$
over the entries $x$ and $y$ of the two weighted updates. All are means over the modules, each
weighing by the norms of its two updates. It is a prediction: the measure is each adapter's loss on
its own held-out rows, alone and combined.

**Example.** Entries $(3, -1)$ and $(1, 1)$: one of two has opposite signs, so 50 %, and
$1 - (4 + 0) / (4 + 2) = 33.3\,\%$ cancels.
""")


@dataclass(frozen=True)
class CombineView:
    """What came out: numbers, each source's effects, losses, modules, where to go with it."""

    summary: gr.HTML
    effects_words: gr.HTML
    effects: gr.HTML
    losses: gr.HTML
    modules: gr.HTML
    next_steps: gr.HTML

    @property
    def outputs(self) -> list[gr.HTML]:
        return [
            self.summary, self.effects_words, self.effects, self.losses, self.modules,
            self.next_steps,
        ]  # fmt: skip


def build_section(engine: Engine, parts: AdapterParts, blocks: gr.Blocks) -> None:
    gr.HTML(
        doing_html(
            tr(
                "Add adapters of one base with weights, see where they collide, and hear the "
                "result before it is written."
            )
        ),
        js_on_load="",
    )
    fields = combine_fields(parts.adapter)
    before = before_view()
    output = output_fields(
        "combine",
        tr("Combine"),
        tr("The combined adapter is listed under it: letters, digits, _, . and -."),
    )
    tasks, row = TabTasks(), progress_row("combine")
    view = _result_view()
    layout.how_this_works(tr(HELP), tr("How combining works"))

    fields.connect(engine, blocks, before.row.problem, before.answers)
    connect_before(engine, fields, before)
    handlers = _Handlers(engine, tasks, fields, output, view, row)
    wire([blocks.load], handlers.open_page, [], [output.name], problem=row.problem)
    bind = partial(
        wire, inputs=fields.inputs | {output.name}, problem=row.problem,
        outputs=[*view.outputs, fields.others, output.replace, *row.outputs],
        empties=[*view.outputs, row.progress],
    )  # fmt: skip
    parts.list_again(bind([output.write.click], handlers.write).then)
    parts.list_again(bind([output.replace.click], handlers.replace).then)
    connect_stop(tasks, row)
    expose(combine_endpoint(engine), "combine")


def _result_view() -> CombineView:
    summary = gr.HTML(elem_id="combine-summary", js_on_load="")
    next_steps = gr.HTML(elem_id="combine-next", js_on_load="")
    effects_words = gr.HTML(js_on_load="")
    effects = live_table(
        label=tr("Predicted and measured"), file_name="effects.csv", elem_id="combine-effects"
    )
    losses = losses_table("combine-losses")
    modules = modules_table("combine-modules", "combined.csv")
    return CombineView(summary, effects_words, effects, losses, modules, next_steps)


@dataclass(frozen=True)
class _Handlers:
    """What the section's events do."""

    engine: Engine
    tasks: TabTasks
    fields: CombineFields
    output: OutputFields
    view: CombineView
    row: ProgressRow

    def open_page(self, request: gr.Request) -> Update:
        """A name for what the opened adapter is combined into."""
        found = opened_adapter(self.engine, request)
        return {self.output.name: name_from(f"{found.name}-combined")}

    def write(self, given: Mapping[Component, Any], request: gr.Request) -> Iterator[Update]:
        yield from self._write(given, request, overwrite=False)

    def replace(self, given: Mapping[Component, Any], request: gr.Request) -> Iterator[Update]:
        yield from self._write(given, request, overwrite=True)

    def _write(
        self, given: Mapping[Component, Any], request: gr.Request, *, overwrite: bool
    ) -> Iterator[Update]:
        asked, name = self.fields.mixture(given), given[self.output.name]
        task = self.tasks.start(request)
        updates = self._combined(task, asked, name, overwrite)
        yield from self.row.until_stopped(task, self.output.asking(updates))

    def _combined(
        self, task: TabTask, asked: Mixture, name: str, overwrite: bool
    ) -> Iterator[Update]:
        """The combined adapter in numbers, then each source's losses alone and combined."""
        engine, view, row = self.engine, self.view, self.row
        folder = engine.adapter_operations.adapter_folder(name)
        called = adapter_names(engine, asked.keys)
        yield dict.fromkeys(view.outputs, "")
        done = yield from row.watch(task, combining(engine, asked, folder, overwrite))
        opened = engine.adapters.get(asked.keys[0])
        yield {
            view.summary: summary_html(done),
            view.modules: modules_value(done),
            view.next_steps: compare_steps_html(
                beside(asked.sources, done.path), tr("Compare them")
            ),
            self.fields.others: gr.Dropdown(choices=other_choices(engine, opened)),
            **row.working(0.0, tr("predicting where they collide")),
        }
        met = yield from row.watch(task, predicting(engine, asked.sources))
        combined = str(done.path)
        columns = [*asked.keys, combined]
        found = yield from losses_or_why(row, task, measuring(engine, columns, asked.keys))
        if found is None:
            return
        yield {
            view.effects_words: effects_words(),
            view.effects: effects_value(asked.sources, combined, met, found, called),
            view.losses: losses_value(found, {**called, combined: name}),
            **row.idle(layout.notes_html(found.notes)),
        }
