"""The calculator page's second half: a whole model, its parameters, its memory, other methods."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from lora_engine import calculator
from lora_engine.engine import Engine
from lora_engine.errors import InvalidInput
from lora_engine.language import tr, translatable
from lora_engine.settings import Settings
from pages.calculator import advice_section, training_time
from pages.calculator.components import module_ticks_value, targets_ticked_js
from pages.calculator.export import ExportPart
from pages.calculator.form import (
    UPLOADED,
    CalculatorForm,
    Selection,
    Values,
    model_choices,
)
from pages.calculator.memory_estimate import MemoryPart
from pages.calculator.parameter_count import CountPart, methods_table
from pages.shared import alpha_note, layout, live
from pages.shared.address_fields import AddressFields
from pages.shared.advice_panel import AdvicePanel
from pages.shared.static_files import event_js
from pages.shared.uploads import once_read
from pages.shared.wiring import Update, problem_box, wire

BEING_MEASURED = translatable("How fast this machine is, is measured once the page is open.")


@dataclass(frozen=True)
class Results:
    """What follows from the fields. methods and here take longer than the rest."""

    count: CountPart
    memory: MemoryPart
    work: gr.HTML
    here: gr.HTML
    export: ExportPart
    methods: gr.HTML

    @property
    def quick(self) -> list[Component]:
        """Everything but the other methods and the time on this machine."""
        parts = (self.count, self.memory, self.export)
        return [self.work, *(output for part in parts for output in part.outputs)]

    def update(self, selection: Selection) -> Update:
        counted = calculator.read_profile(selection.source, selection.method).count
        return {
            **self.count.update(selection, counted),
            **self.memory.update(selection),
            self.work: training_time.work_html(selection),
            **self.export.update(selection, counted),
        }


def section(engine: Engine, blocks: gr.Blocks) -> None:
    """All parts, wired: what is chosen for the model counts for its memory too."""
    form = CalculatorForm()
    layout.section(
        tr("A whole model"), tr("Counted from the published configuration; nothing is fetched.")
    )
    with gr.Row(elem_classes="rs-workbench"):
        with gr.Column(elem_classes="rs-inputs", min_width=300):
            form.lay_out(engine)
            advice = advice_section.lay_out()
            problem = problem_box()
        with gr.Column(elem_classes="rs-results", min_width=300):
            count, memory = CountPart(), _memory_part()
            work, here = _time_parts()
            export = _export_part()
    methods = _lay_out_tables(count, memory)
    results = Results(count, memory, work, here, export, methods)
    handlers = Handlers(form, results, engine.settings)
    handlers.fill_in_opening()
    _wire(blocks, handlers, problem, advice)

    def list_models() -> Update:
        """The models that are here now: more may have come since the form was drawn."""
        return {form.model: gr.Dropdown(choices=model_choices(engine))}

    wire([blocks.load], list_models, [], [form.model], problem=problem)


def _memory_part() -> MemoryPart:
    layout.section(tr("Its memory"), tr("The peak of a training run, before it starts."))
    return MemoryPart()


def _time_parts() -> tuple[gr.HTML, gr.HTML]:
    layout.section(tr("Its time"))
    return (
        gr.HTML(js_on_load="", elem_id="time"),
        gr.HTML(
            f'<p class="rs-quiet">{escape(tr(BEING_MEASURED))}</p>',
            js_on_load="",
            elem_id="time-here",
        ),
    )


def _export_part() -> ExportPart:
    layout.section(
        tr("Take it along"), tr("The same choice for a script, a run or the Train page.")
    )
    return ExportPart()


def _lay_out_tables(count: CountPart, memory: MemoryPart) -> gr.HTML:
    """The tables below, in tabs. Returns that of the other methods."""
    with gr.Tabs(elem_id="model-tables"):
        with gr.Tab(tr("Other methods"), id="methods"):
            methods = live.live_table(
                label=tr("Methods"), file_name="methods.csv", elem_id="methods"
            )
        with gr.Tab(tr("Modules"), id="modules"):
            count.details()
        with gr.Tab(tr("Memory"), id="memory"):
            memory.items_table()
        with gr.Tab(tr("Cards"), id="cards"):
            memory.cards_table()
    return methods


@dataclass(frozen=True)
class Handlers:
    """What happens on the section's events. `values` are those of `form.inputs`."""

    form: CalculatorForm
    results: Results
    settings: Settings

    def view(self, values: Values) -> Update:
        """Everything but the ticks, the other methods and the time on this machine."""
        return self.results.update(self.form.read(values, self.settings))

    def beside(self, values: Values) -> Update:
        """What the model has, and the other methods; neither depends on the memory's fields.

        Targets that the model has not are the view's to refuse; the ticks say what it has.
        """
        source = self.form.source(values, self.settings)
        try:
            source, method = self.form.counted(values, self.settings)
            found = calculator.available_modules(source, method)
            methods = methods_table(calculator.compare_methods(source, method))
        except InvalidInput:
            found, methods = calculator.available_modules(source), ""
        named = [name.strip() for name in (values[self.form.targets] or "").split(",")]
        ticks = module_ticks_value(found, named)
        return {self.form.ticks: ticks, self.results.methods: methods}

    def time_here(self, values: Values) -> Update:
        """How long this machine takes; it is measured for the first answer."""
        return {self.results.here: training_time.here_html(self.form.read(values, self.settings))}

    def fill_in_opening(self) -> None:
        """Give every part the value it opens with: the opening model's count is prepared."""
        values: dict[Block, Any] = {field: field.value for field in self.form.inputs}
        for part, value in (self.view(values) | self.beside(values)).items():
            setattr(part, "value", value)  # noqa: B010 - a Block has no value of its own

    def take_config(self, values: Values) -> Update:
        """The uploaded config in place of the model."""
        with once_read(values[self.form.upload]) as file:
            config = calculator.given_config(file)
        return {self.form.model: tr(UPLOADED), self.form.uploaded: config}


def _wire(blocks: gr.Blocks, act: Handlers, problem: gr.HTML, advice: AdvicePanel) -> None:
    """First what the browser does alone, which would otherwise wait for an answer."""
    form = act.form
    _wire_browser(form)
    all_fields = list(form.in_address.values())
    address = AddressFields(form.in_address)
    changed = [*(field.input for field in all_fields), form.targets.change, form.model.change]
    address.remember(changed, "page_remember_model")
    alpha_note.connect(form.scaling, form.spec, blocks)
    _ask(act, problem, [*(field.input for field in all_fields), form.ticks.input])
    used = advice_section.connect(advice, form, act.settings)
    address.remember(used.then, "page_remember_advice")
    _ask(act, problem, used.then)
    recalled = address.recall(blocks, form.address_problem, "page_recall_model")
    taken = wire(
        [form.upload.upload],
        act.take_config,
        {form.upload},
        [form.model, form.uploaded],
        problem=problem,
    )
    _ask(act, problem, taken.then)
    _ask(act, problem, recalled.then)


def _ask(act: Handlers, problem: gr.HTML, triggers: Any) -> None:
    """The view, which says what is wrong for both, and then what takes longer.

    One after the other: of two questions on one event Gradio asks each again after the other.
    """
    form, results = act.form, act.results
    viewed = wire(triggers, act.view, form.inputs, results.quick, problem=problem, follows=True)
    beside = wire(
        viewed.then,
        act.beside,
        form.count_inputs,
        [form.ticks, results.methods],
        problem=problem,
        keeps_problem=True,
        follows=True,
    )
    wire(
        beside.then,
        act.time_here,
        form.inputs,
        [results.here],
        problem=problem,
        keeps_problem=True,
        follows=True,
    )


def _wire_browser(form: CalculatorForm) -> None:
    """The numbers of a rank, what the ticks say in the targets, and what QLoRA brings along."""
    gr.on(
        [form.stored.input],
        fn=None,
        inputs=[form.stored, form.checkpointing],
        outputs=[form.checkpointing],
        js=event_js("calculator/calculator.js", "checkpointingFor"),
        api_name="page_checkpointing",
        trigger_mode="multiple",
    )
    gr.on(
        [form.rank.input],
        fn=None,
        inputs=[form.rank],
        js=live.show_rank_js("model-tiles"),
        api_name="page_show_model_rank",
        trigger_mode="multiple",
    )
    gr.on(
        [form.ticks.input],
        fn=None,
        inputs=[form.ticks],
        outputs=[form.targets],
        js=targets_ticked_js(),
        api_name="page_tick",
        trigger_mode="multiple",
    )
