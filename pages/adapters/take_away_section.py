"""The tab "Take away": the opened adapter written for another program, and what that kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import get_args

import gradio as gr

from lora_engine.engine import Engine
from lora_engine.export import DTYPE_HELP, FORM_WORDS, SYSTEM_HELP, DType
from pages.adapters import take_away_html
from pages.adapters.parts import AdapterParts, opened_adapter
from pages.adapters.routes import export_zip_address
from pages.adapters.take_away_work import (
    HAS_DTYPE,
    HAS_SYSTEM,
    ExportChoice,
    export_choice,
    export_endpoint,
    exporting,
    is_suggested,
    measuring_fidelity,
    suggested_name,
)
from pages.adapters.writing import OutputFields, output_fields
from pages.shared import layout
from pages.shared.adapter_choices import adapter_key
from pages.shared.background_work import (
    ProgressRow,
    TabTask,
    TabTasks,
    connect_stop,
    progress_row,
)
from pages.shared.live import live_table
from pages.shared.wiring import Update, expose, problem_box, wire

HELP = r"""
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
"""
AS_THE_BASE = ("as the base stores them", "")


@dataclass(frozen=True)
class ExportFields:
    """In which form, how, and under which name."""

    form: gr.Radio
    dtype: gr.Dropdown
    system: gr.Textbox
    base: gr.Textbox
    measure: gr.Checkbox
    output: OutputFields

    @property
    def inputs(self) -> list:
        return [self.output.name, self.form, self.base, self.dtype, self.system, self.measure]


@dataclass(frozen=True)
class ExportView:
    """What came out: where it is, what it kept, where it loads, where to go with it."""

    written: gr.HTML
    fidelity: gr.HTML
    loads_heading: gr.HTML
    loads: gr.HTML
    commands: gr.Code
    next_steps: gr.HTML

    @property
    def outputs(self) -> list:
        return [
            self.written, self.fidelity, self.loads_heading, self.loads, self.commands,
            self.next_steps,
        ]  # fmt: skip


def build_section(engine: Engine, parts: AdapterParts, blocks: gr.Blocks) -> None:
    layout.section("Does it load there?", "The adapter as it is now, by the rules of each program.")
    problem = problem_box()
    loads_now = _rules_table("take-away-now", "Where the adapter loads now")
    layout.section("Write it for another program", "The original stays as it is.")
    fields = _export_fields()
    tasks, row = TabTasks(), progress_row("take-away")
    view = _export_view()
    layout.how_this_works(HELP, "How taking away works")

    handlers = _Handlers(engine, tasks, fields, view, row)

    def open_tab(request: gr.Request) -> Update:
        found = opened_adapter(engine, request)
        if found is None:
            return {}
        rules = engine.exports.where_it_loads(adapter_key(found))
        return {
            loads_now: take_away_html.rules_value(rules),
            fields.output.name: suggested_name(found.name, fields.form.value),
        }

    wire([blocks.load], open_tab, [], [loads_now, fields.output.name], problem=problem)
    wire([fields.form.input], handlers.show_form, [parts.adapter, fields.form, fields.output.name],
         [fields.dtype, fields.system, fields.output.name], problem=row.problem)  # fmt: skip
    bind = partial(wire, problem=row.problem, empties=[*view.outputs, row.progress])
    given = [parts.adapter, *fields.inputs]
    outputs = [*view.outputs, fields.output.replace, *row.outputs]
    bind([fields.output.write.click], handlers.write, given, outputs)
    bind([fields.output.replace.click], handlers.replace, given, outputs)
    connect_stop(tasks, row)
    expose(export_endpoint(engine), "export")


def _rules_table(elem_id: str, label: str) -> gr.HTML:
    with gr.Column(elem_classes="rs-load-rules"):
        return live_table(label=label, file_name="where-it-loads.csv", elem_id=elem_id)


def _export_fields() -> ExportFields:
    form = gr.Radio(
        [(f"{name}: {words}", name) for name, words in FORM_WORDS.items()],
        value="portable", label="Form", elem_id="take-away-form", elem_classes="rs-lines",
    )  # fmt: skip
    dtype = gr.Dropdown(
        [AS_THE_BASE, *((name, name) for name in get_args(DType))], value="", visible=False,
        label="Numbers of the weights", info=DTYPE_HELP, elem_id="take-away-dtype",
    )  # fmt: skip
    system = gr.Textbox(
        "", visible=False, label="System text", info=SYSTEM_HELP, lines=2, max_lines=8,
        elem_id="take-away-system",
    )  # fmt: skip
    with layout.folded("Base and measurement"):
        base = gr.Textbox(
            "", label="Base model", placeholder="the one it was trained on",
            info="Another name or folder of the same base.", elem_id="take-away-base",
        )  # fmt: skip
        measure = gr.Checkbox(
            True, label="Measure what the export kept", elem_id="take-away-measure",
            info="Loads base, adapter and export, and compares them.",
        )  # fmt: skip
    output = output_fields(
        "take-away", "Export", "The export", "goes into exports/NAME of the data folder"
    )
    return ExportFields(form, dtype, system, base, measure, output)


def _export_view() -> ExportView:
    return ExportView(
        written=gr.HTML(elem_id="take-away-written", js_on_load=""),
        fidelity=gr.HTML(elem_id="take-away-fidelity", js_on_load=""),
        loads_heading=gr.HTML(elem_classes="rs-section", js_on_load=""),
        loads=_rules_table("take-away-loads", "Where the export loads"),
        commands=gr.Code(
            "",
            language="shell",
            label="Commands that serve it",
            interactive=False,
            elem_id="take-away-commands",
            show_line_numbers=False,
            buttons=["copy"],
            wrap_lines=True,
        ),
        next_steps=gr.HTML(elem_id="take-away-next", js_on_load=""),
    )


@dataclass(frozen=True)
class _Handlers:
    """What the section's events do."""

    engine: Engine
    tasks: TabTasks
    fields: ExportFields
    view: ExportView
    row: ProgressRow

    def show_form(self, adapter: str | None, form: str, name: str) -> Update:
        """The options of this form, and a name for it unless the person chose one."""
        source = self.engine.adapters.get(adapter or "").name
        suggested = is_suggested(name, source)
        return {
            self.fields.dtype: gr.Dropdown(visible=form in HAS_DTYPE),
            self.fields.system: gr.Textbox(visible=form in HAS_SYSTEM),
            **({self.fields.output.name: suggested_name(source, form)} if suggested else {}),
        }

    def write(
        self, adapter: str | None, name: str, form: str, base: str, dtype: str, system: str,
        measure: bool, request: gr.Request,
    ) -> Iterator[Update]:  # fmt: skip
        choice = export_choice(form, base, dtype, system)
        yield from self._write(request, adapter, name, choice, measure, overwrite=False)

    def replace(
        self, adapter: str | None, name: str, form: str, base: str, dtype: str, system: str,
        measure: bool, request: gr.Request,
    ) -> Iterator[Update]:  # fmt: skip
        choice = export_choice(form, base, dtype, system)
        yield from self._write(request, adapter, name, choice, measure, overwrite=True)

    def _write(
        self, request: gr.Request, adapter: str | None, name: str, choice: ExportChoice,
        measure: bool, *, overwrite: bool,
    ) -> Iterator[Update]:  # fmt: skip
        task = self.tasks.start(request)
        updates = self._exported(task, adapter or "", name, choice, measure, overwrite)
        yield from self.row.until_stopped(task, self.fields.output.asking(updates))

    def _exported(
        self, task: TabTask, adapter: str, name: str, choice: ExportChoice, measure: bool,
        overwrite: bool,
    ) -> Iterator[Update]:  # fmt: skip
        """The export and where it loads, then what it kept."""
        yield dict.fromkeys(self.view.outputs, "")
        source = adapter_key(self.engine.adapters.get(adapter))
        work = exporting(self.engine, source, name, choice, overwrite)
        done = yield from self.row.watch(task, work)
        loads = take_away_html.rules_value(done.loads) if done.loads else ""
        idle = self.row.idle(layout.notes_html(done.notes))
        yield {
            self.view.written: take_away_html.written_html(done),
            self.view.loads_heading: take_away_html.loads_heading_html(done),
            self.view.loads: loads,
            self.view.commands: take_away_html.commands_text(done.commands),
            self.view.next_steps: take_away_html.next_steps_html(
                done, source, export_zip_address(name)
            ),
            **(self.row.working(0.0, "measuring what the export kept") if measure else idle),
        }
        if not measure:
            return
        measuring = measuring_fidelity(self.engine, source, done, choice.base)
        found = yield from self.row.watch(task, measuring)
        yield {
            self.view.fidelity: take_away_html.fidelity_html(found.fidelity),
            **self.row.idle(layout.notes_html(found.notes)),
        }
