"""The tab "Export": the opened adapter written for another program, and what that kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.engine import Engine
from lora_engine.errors import Conflict
from lora_engine.export import ExportReport
from lora_engine.language import tr, translatable
from pages.adapters import take_away_html
from pages.adapters.parts import AdapterParts, opened_adapter
from pages.adapters.routes import export_zip_address
from pages.adapters.take_away_earlier import connect as connect_earlier
from pages.adapters.take_away_earlier import earlier_exports
from pages.adapters.take_away_fields import (
    ExportFields,
    ExportView,
    PushFields,
    export_fields,
    export_view,
    push_fields,
    rules_table,
)
from pages.adapters.take_away_work import (
    HAS_DTYPE,
    HAS_SYSTEM,
    TAKES_BASE_ALONG,
    ExportChoice,
    export_endpoint,
    exporting,
    is_suggested,
    measuring_fidelity,
    pushing,
    suggested_name,
)
from pages.shared import layout
from pages.shared.adapter_choices import adapter_key
from pages.shared.background_work import (
    ProgressRow,
    TabTask,
    TabTasks,
    connect_stop,
    progress_row,
)
from pages.shared.questions import wire_taking_back
from pages.shared.wiring import Update, expose, problem_box, wire

Values = Mapping[Component, Any]

HELP = translatable(r"""
Programs read different parts of an adapter's configuration. llama.cpp scales by `lora_alpha` over
each tensor's own rank: an rsLoRA adapter comes out too weak by $\sqrt r$ there, and nothing says
so. A **portable** adapter says the same update in the numbers that every reader knows:

$$B' = s\,B, \qquad r' = \alpha' = R, \qquad \Delta W = \tfrac{\alpha'}{r'} B' A = s\,B A$$

with one rank $R$ for all modules (smaller ones are filled with zeros). What it cannot say (DoRA,
biases, modules saved whole) is refused by name; a **merged** model holds everything.

After writing, base, adapter and export are loaded and compared on the adapter's held-out rows:
the share of greedy answers that are the same to the letter, the loss of both, and

$$\mathrm{KL} = \tfrac1n \sum_{i=1}^{n} \sum_v p_i(v) \ln \frac{p_i(v)}{q_i(v)}$$

over the $n$ answer tokens, $p$ of what was trained and $q$ of the export.

**Example.** Rank 16 and $\alpha$ 16 with rsLoRA: $s = 16 / \sqrt{16} = 4$. llama.cpp would take
$16 / 16 = 1$, a quarter of the update. In the portable one $B' = 4B$ and $16 / 16 = 1$ is right.

The rules of the other programs were read in their sources; the table says where and when.
""")


def build_section(engine: Engine, parts: AdapterParts, blocks: gr.Blocks) -> None:
    layout.section(
        tr("Does it load there?"),
        tr("The adapter as it is now, by the rules of each program."),
    )
    problem = problem_box()
    loads_now = rules_table("take-away-now", tr("Where the adapter loads now"))
    layout.section(tr("Write it for another program"), tr("The original stays as it is."))
    fields, push = export_fields(), push_fields()
    tasks, row = TabTasks(), progress_row("take-away")
    view = export_view()
    earlier = earlier_exports()
    layout.how_this_works(tr(HELP), tr("How exporting works"))

    handlers = _Handlers(engine, tasks, parts, fields, push, view, row)

    def open_tab(request: gr.Request) -> Update:
        found = opened_adapter(engine, request)
        rules = engine.exports.where_it_loads(adapter_key(found))
        return {
            loads_now: take_away_html.rules_value(rules),
            fields.output.name: suggested_name(found.name, fields.form.value),
        }

    wire([blocks.load], open_tab, [], [loads_now, fields.output.name], problem=problem)
    chosen = [parts.adapter, fields.form, fields.output.name]
    follow = [fields.dtype, fields.system, fields.with_base, fields.output.name]
    wire([fields.form.input], handlers.show_form, chosen, follow, problem=row.problem)
    bind = partial(wire, problem=row.problem, empties=[*view.outputs, row.progress])
    given = {parts.adapter, *fields.inputs}
    outputs = [*view.outputs, fields.output.replace, *row.outputs]
    list_again = connect_earlier(engine, earlier, blocks)
    list_again(bind([fields.output.write.click], handlers.write, given, outputs).then)
    list_again(bind([fields.output.replace.click], handlers.replace, given, outputs).then)
    _wire_push(handlers, push, bind, list_again)
    connect_stop(tasks, row)
    expose(export_endpoint(engine), "export")


def _wire_push(
    handlers: _Handlers, push: PushFields, bind: partial, list_again: Callable[..., Any]
) -> None:
    fields = handlers.fields
    given = {handlers.parts.adapter, *fields.inputs, *push.inputs}
    asked = [push.group, push.question, push.replace]
    problem = handlers.row.problem
    wire([push.ask.click], handlers.ask_to_push, given, asked, problem=problem)
    another = (
        push.repository.change, push.seen_by.input, fields.form.input, fields.output.name.change,
    )  # fmt: skip
    for taken_back in (push.leave.click, *another):
        wire_taking_back(taken_back, push.group)
    outputs = [*handlers.view.outputs, push.group, push.replace, *handlers.row.outputs]
    list_again(bind([push.push.click], handlers.push_it, given, outputs).then)
    list_again(bind([push.replace.click], handlers.push_over_it, given, outputs).then)


@dataclass(frozen=True)
class _Handlers:
    """What the section's events do."""

    engine: Engine
    tasks: TabTasks
    parts: AdapterParts
    fields: ExportFields
    push: PushFields
    view: ExportView
    row: ProgressRow

    def show_form(self, adapter: str | None, form: str, name: str) -> Update:
        """The options of this form, and a name for it unless the person chose one."""
        source = self.engine.adapters.get(adapter or "").name
        suggested = is_suggested(name, source)
        return {
            self.fields.dtype: gr.Dropdown(visible=form in HAS_DTYPE),
            self.fields.system: gr.Textbox(visible=form in HAS_SYSTEM),
            self.fields.with_base: gr.Checkbox(visible=form in TAKES_BASE_ALONG),
            **({self.fields.output.name: suggested_name(source, form)} if suggested else {}),
        }

    def write(self, values: Values, request: gr.Request) -> Iterator[Update]:
        yield from self._write(request, values, overwrite=False)

    def replace(self, values: Values, request: gr.Request) -> Iterator[Update]:
        yield from self._write(request, values, overwrite=True)

    def ask_to_push(self, values: Values) -> Update:
        """What will happen, before anything leaves this machine."""
        choice, target = self.fields.read(values), self.push.read(values)
        self.engine.exports.written.folder(choice.name)  # refuses a name that is none
        return {
            self.push.group: gr.Column(visible=True),
            self.push.question: take_away_html.push_question_html(choice, target),
            self.push.replace: gr.Button(visible=False),
        }

    def push_it(self, values: Values, request: gr.Request) -> Iterator[Update]:
        yield from self._push(request, values, overwrite=False)

    def push_over_it(self, values: Values, request: gr.Request) -> Iterator[Update]:
        yield from self._push(request, values, overwrite=True)

    def _write(self, request: gr.Request, values: Values, *, overwrite: bool) -> Iterator[Update]:
        choice = self.fields.read(values)
        task = self.tasks.start(request)
        updates = self._written(task, values[self.parts.adapter] or "", choice, overwrite)
        yield from self.row.until_stopped(task, self.fields.output.asking(updates))

    def _written(
        self, task: TabTask, adapter: str, choice: ExportChoice, overwrite: bool
    ) -> Iterator[Update]:
        """The export and where it loads, then what it kept."""
        yield dict.fromkeys(self.view.outputs, "")
        source = adapter_key(self.engine.adapters.get(adapter))
        work = exporting(self.engine, source, choice, overwrite)
        done = yield from self.row.watch(task, work)
        if not choice.is_measured:
            yield {**self._shown(done, source, choice), **self._idle(done)}
            return
        working = self.row.working(0.0, tr("measuring what the export kept"))
        yield {**self._shown(done, source, choice), **working}
        measuring = measuring_fidelity(self.engine, source, done, choice)
        found = yield from self.row.watch(task, measuring)
        yield {**self._shown(found, source, choice), **self._idle(found)}

    def _push(self, request: gr.Request, values: Values, *, overwrite: bool) -> Iterator[Update]:
        task = self.tasks.start(request)
        try:
            yield from self.row.until_stopped(task, self._pushed(task, values, overwrite))
        except Conflict:
            yield {self.push.replace: gr.Button(visible=True)}
            raise

    def _pushed(self, task: TabTask, values: Values, overwrite: bool) -> Iterator[Update]:
        """The export, what it kept, and where it is on the hub."""
        choice, target = self.fields.read(values), self.push.read(values)
        source = adapter_key(self.engine.adapters.get(values[self.parts.adapter] or ""))
        yield dict.fromkeys(self.view.outputs, "")
        work = pushing(self.engine, source, choice, target, overwrite)
        done = yield from self.row.watch(task, work)
        yield {
            self.push.group: gr.Column(visible=False),
            **self._shown(done, source, choice),
            **self._idle(done),
        }

    def _shown(self, done: ExportReport, source: str, choice: ExportChoice) -> Update:
        zip_address = export_zip_address(choice.name)
        return {
            self.view.written: take_away_html.written_html(done),
            self.view.fidelity: take_away_html.fidelity_html(done),
            self.view.loads_heading: take_away_html.loads_heading_html(done),
            self.view.loads: take_away_html.rules_value(done.loads) if done.loads else "",
            self.view.commands: take_away_html.commands_text(done.commands),
            self.view.next_steps: take_away_html.next_steps_html(done, source, zip_address),
        }

    def _idle(self, done: ExportReport) -> Update:
        return self.row.idle(layout.notes_html(done.notes))
