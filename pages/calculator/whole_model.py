"""The calculator page's second half: a whole model, its parameters, its memory, other methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine import calculator
from lora_engine.engine import Engine
from lora_engine.errors import InvalidInput
from lora_engine.settings import Settings
from pages.calculator import advice_section, measured_section, training_time
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
from pages.shared.wiring import Update, problem_box, wire


@dataclass(frozen=True)
class Results:
    """What follows from the fields. methods takes longer than the rest."""

    count: CountPart
    memory: MemoryPart
    time: gr.HTML
    export: ExportPart
    methods: gr.HTML

    @property
    def quick(self) -> list[Component]:
        """Everything but the other methods."""
        parts = (self.count, self.memory, self.export)
        return [self.time, *(output for part in parts for output in part.outputs)]

    def update(self, selection: Selection) -> Update:
        counted = calculator.read_profile(selection.source, selection.method).count
        return {
            **self.count.update(selection, counted),
            **self.memory.update(selection),
            self.time: training_time.view(selection),
            **self.export.update(selection, counted),
        }


def section(engine: Engine, blocks: gr.Blocks) -> None:
    """All parts, wired: what is chosen for the model counts for its memory too."""
    form = CalculatorForm()
    layout.section("A whole model", "Counted from the published configuration; nothing is fetched.")
    advice = advice_section.lay_out()
    form.model_fields(engine)
    problem = problem_box()
    count = CountPart()
    layout.section("Its memory", "The peak of a training run, item by item, before it starts.")
    form.memory_fields()
    memory = MemoryPart()
    layout.section("Its time", "Steps, tokens and arithmetic of the run, and how long here.")
    form.length_fields()
    time = gr.HTML(js_on_load="", elem_id="time")
    layout.section("Beside other methods", "What each trains in this model, and what it costs.")
    methods = live.live_table(label="Methods", file_name="methods.csv", elem_id="methods")
    measured_section.section(engine, blocks)
    layout.section("Take it along", "The same choice for a script, a run or the train page.")
    results = Results(count, memory, time, ExportPart(), methods)
    _wire(blocks, Handlers(form, results, engine.settings), problem, advice)

    def list_models() -> Update:
        """The models that are here now: more may have come since the form was drawn."""
        return {form.model: gr.Dropdown(choices=model_choices(engine))}

    wire([blocks.load], list_models, [], [form.model], problem=problem)


@dataclass(frozen=True)
class Handlers:
    """What happens on the section's events. `values` are those of `form.inputs`."""

    form: CalculatorForm
    results: Results
    settings: Settings

    def view(self, values: Values) -> Update:
        """Everything but the ticks and the other methods."""
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

    def everything(self, values: Values) -> Update:
        """Both in one answer, for a page that opens."""
        return self.view(values) | self.beside(values)

    def take_config(self, values: Values) -> Update:
        """The uploaded config in place of the model."""
        config = calculator.path_source(values[self.form.upload]).config_json
        return {self.form.model: UPLOADED, self.form.uploaded: config}


def _wire(blocks: gr.Blocks, act: Handlers, problem: gr.HTML, advice: AdvicePanel) -> None:
    """First what the browser does alone, which would otherwise wait for an answer."""
    form = act.form
    all_fields = list(form.in_address.values())
    address = AddressFields(form.in_address)
    changed = [*(field.input for field in all_fields), form.targets.change, form.model.change]
    address.remember(changed, "page_remember_model")
    _wire_browser(form)
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
    everything = [*act.results.quick, form.ticks, act.results.methods]
    wire(recalled.then, act.everything, form.inputs, everything, problem=problem, follows=True)


def _ask(act: Handlers, problem: gr.HTML, triggers: Any) -> None:
    """The view, which says what is wrong for both, and then what takes longer.

    One after the other: of two questions on one event Gradio asks each again after the other.
    """
    form, results = act.form, act.results
    viewed = wire(triggers, act.view, form.inputs, results.quick, problem=problem, follows=True)
    wire(
        viewed.then,
        act.beside,
        form.count_inputs,
        [form.ticks, results.methods],
        problem=problem,
        keeps_problem=True,
        follows=True,
    )


def _wire_browser(form: CalculatorForm) -> None:
    """The numbers of a rank, and what the ticks say in the targets."""
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
