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
from pages.calculator import training_time
from pages.calculator.export import ExportPart
from pages.calculator.form import (
    START_PRESET,
    START_RANK,
    START_TARGETS,
    UPLOADED,
    CalculatorForm,
    Selection,
    Values,
)
from pages.calculator.memory_estimate import MemoryPart
from pages.calculator.parameter_count import CountPart, methods_table
from pages.shared import layout, live
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
    layout.section("Take it along", "The same choice for a script, a run or the train page.")
    results = Results(count, memory, time, ExportPart(), methods)
    _wire(blocks, Handlers(form, results, engine.settings), problem)


@dataclass(frozen=True)
class Handlers:
    """What happens on the section's events. `values` are those of `form.inputs`."""

    form: CalculatorForm
    results: Results
    settings: Settings

    def view(self, values: Values) -> Update:
        """Everything but the other methods, which take longer."""
        return self.results.update(self.form.read(values, self.settings))

    def methods(self, values: Values) -> Update:
        selection = self.form.read(values, self.settings)
        rows = calculator.compare_methods(selection.source, selection.method)
        return {self.results.methods: methods_table(rows)}

    def open_page(self, values: Values, request: gr.Request) -> Update:
        """The model, rank and targets in the page's address, and what follows from them."""
        named: Update = {
            self.form.model: layout.state_of(request, "preset", START_PRESET),
            self.form.rank: layout.whole_state_of(request, "rank", START_RANK),
            self.form.targets: layout.state_of(request, "targets", START_TARGETS),
        }
        return named | self.retarget({**values, **named})

    def new_model(self, values: Values) -> Update:
        """Another model; target names that it has not give way to all-linear."""
        try:
            return self.retarget(values)
        except InvalidInput:
            if set((values[self.form.targets] or "").split(",")) <= set(calculator.SHORTCUTS):
                raise
            return self._change(values, {self.form.targets: "all-linear"})

    def take_config(self, values: Values) -> Update:
        """The uploaded config in place of the model."""
        config = calculator.path_source(values[self.form.upload]).config_json
        named: Update = {self.form.model: UPLOADED, self.form.uploaded: config}
        return named | self.new_model({**values, **named})

    def tick(self, values: Values) -> Update:
        """The ticked names in place of the targets."""
        named: Update = {self.form.targets: ",".join(values[self.form.ticks])}
        values = {**values, **named}
        return named | self.view(values) | self.methods(values)

    def retarget(self, values: Values) -> Update:
        """The tick-list of the model, then everything."""
        selection = self.form.read(values, self.settings)
        available = calculator.available_modules(selection.source, selection.method)
        ticks: Update = {self.form.ticks: _ticks(available)}
        return ticks | self.results.update(selection) | self.methods(values)

    def _change(self, values: Values, named: Update) -> Update:
        return named | self.retarget({**values, **named})


def _wire(blocks: gr.Blocks, act: Handlers, problem: gr.HTML) -> None:
    form, results = act.form, act.results
    model, rank, targets = form.model, form.rank, form.targets
    everything = [*results.quick, results.methods]
    choices = [model, rank, targets, form.uploaded, form.ticks]

    def on(triggers: list[Any], handler: Any, outputs: list[Component], *more: Component) -> None:
        inputs = {*form.inputs, *more}
        wire(triggers, handler, inputs, outputs, problem=problem, trigger_mode="always_last")

    opened = [*choices, *everything]
    wire([blocks.load], act.open_page, form.inputs, opened, problem=problem)
    on([model.input], act.new_model, [targets, form.ticks, *everything])
    on([targets.input], act.retarget, [form.ticks, *everything])
    on([form.ticks.input], act.tick, [targets, *everything], form.ticks)
    on([form.upload.upload], act.take_config, [*choices, *everything], form.upload)
    options = [field.input for field in form.count_options]
    memory = [field.input for field in form.memory_options]
    on([rank.input, *options, *memory], act.view, results.quick)
    on([rank.input, *options], act.methods, [results.methods])
    _wire_browser(model, rank, targets)


def _wire_browser(model: gr.Dropdown, rank: gr.Slider, targets: gr.Dropdown) -> None:
    """What the browser does without the server: the numbers of a rank, and the address."""
    gr.on(
        [rank.input],
        fn=None,
        inputs=[rank],
        js=live.show_rank_js("model-tiles"),
        api_name="page_show_model_rank",
        trigger_mode="always_last",
    )
    gr.on(
        [model.input, rank.change, targets.change],
        fn=None,
        inputs=[model, rank, targets],
        js=layout.remember_js("preset", "rank", "targets"),
        api_name="page_remember_model",
    )


def _ticks(available: tuple[calculator.AvailableModule, ...]) -> gr.CheckboxGroup:
    """The tick-list: each kind with its shape and in how many layers it is."""
    return gr.CheckboxGroup(
        choices=[(_tick_label(item), ",".join(item.targets)) for item in available],
        value=[",".join(item.targets) for item in available if item.chosen],
    )


def _tick_label(item: calculator.AvailableModule) -> str:
    layers = f" in {item.layers} layers" if item.layers > 1 else ""
    return f"{item.name} · {item.out_features:,} × {item.in_features:,}{layers}"
