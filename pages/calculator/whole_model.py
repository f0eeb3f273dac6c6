"""The calculator page's second half: a whole model, its parameters, its memory, other methods."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lora_engine import calculator
from lora_engine.calculator.choice import SHORTCUTS
from lora_engine.engine import Engine
from lora_engine.errors import InvalidInput
from pages.calculator import export, memory_estimate, training_time
from pages.calculator.choices import (
    MOST_RANKS,
    START_PRESET,
    START_RANK,
    START_TARGETS,
    UPLOADED,
    Chosen,
    ModelFields,
    chosen,
    memory_fields,
    model_fields,
)
from pages.calculator.components import layer_map, layer_map_value
from pages.shared import layout, live
from pages.shared.wiring import problem_box, wire

COUNT_NAMES = ("base model", "trained", "share", "adapter file")
KIND_COLUMNS = (
    live.Column("module"),
    live.Column("out × in"),
    live.Column("rank", layout.count, numeric=True),
    live.Column("layers", layout.count, numeric=True),
    live.Column("parameters each", layout.count, numeric=True),
    live.Column("parameters", layout.count, numeric=True),
)
METHOD_COLUMNS = (
    live.Column("method"),
    live.Column("trained", layout.count, numeric=True),
    live.Column("share", layout.share, numeric=True),
    live.Column("optimizer state, GiB", layout.number, numeric=True),
    live.Column("later answers"),
    live.Column("formula"),
    live.Column("counted by"),
    live.Column("note"),
)


def section(engine: Engine, blocks: gr.Blocks) -> None:
    """All parts, wired: what is chosen for the model counts for its memory too."""
    layout.section("A whole model", "Counted from the published configuration; nothing is fetched.")
    fields = model_fields(engine)
    problem = problem_box()
    counted = _count_parts()
    layout.section("Its memory", "The peak of a training run, item by item, before it starts.")
    memory = memory_fields()
    estimated = memory_estimate.parts()
    layout.section("Its time", "Steps, tokens and arithmetic of the run, and how long here.")
    with gr.Row():
        length = [
            gr.Number(1000, label="Training rows", min_width=140, elem_id="field-rows"),
            gr.Number(3, label="Epochs", min_width=140, elem_id="field-epochs"),
        ]
    time = gr.HTML(js_on_load="", elem_id="time")
    layout.section("Beside other methods", "What each trains in this model, and what it costs.")
    methods = live.live_table(label="Methods", file_name="methods.csv", elem_id="methods")
    layout.section("Take it along", "The same choice for a script, a run or the train page.")
    exported = export.parts()
    memory += length
    outputs = [*counted, *estimated, time, *exported]
    _wire(engine, blocks, fields, memory, outputs, methods, problem)


def _count_parts() -> list[gr.HTML]:
    waiting = [(name, "…", "counting; longer the first time") for name in COUNT_NAMES]
    tiles = live.rank_tiles(live.rank_tiles_value(1, [waiting]), elem_id="model-tiles")
    grid = layer_map(elem_id="layers")
    kinds = live.live_table(label="Adapted modules by kind", file_name="parameters.csv")
    return [tiles, grid, kinds, gr.HTML(js_on_load="")]


class _Handlers:
    """What happens on the section's events. `values` are all fields, as `chosen` takes them, then
    the rows and the epochs."""

    def __init__(self, engine: Engine) -> None:
        self._settings = engine.settings

    def view(self, *values: Any) -> tuple[str, ...]:
        """Everything but the other methods, which take longer."""
        return shown(chosen(self._settings, values), *values[-2:])

    def methods(self, *values: Any) -> str:
        found = chosen(self._settings, values)
        return methods_table(calculator.compare_methods(found.source, found.choice))

    def open_page(self, request: gr.Request, *values: Any) -> tuple:
        """The model, rank and targets in the page's address, and what follows from them."""
        model = layout.state_of(request, "preset", START_PRESET)
        targets = layout.state_of(request, "targets", START_TARGETS)
        rank = layout.whole_state_of(request, "rank", START_RANK)
        ticks, *rest = self.retarget(model, rank, targets, *values[3:])
        return (model, rank, targets, ticks, *rest)

    def new_model(self, *values: Any) -> tuple:
        """Another model; target names that it has not give way to all-linear."""
        model, rank, targets, *others = values
        try:
            return (targets, *self.retarget(*values))
        except InvalidInput:
            if set(targets.split(",")) <= set(SHORTCUTS):
                raise
            return ("all-linear", *self.retarget(model, rank, "all-linear", *others))

    def take_config(self, path: str, *values: Any) -> tuple:
        """The uploaded config in place of the model."""
        uploaded = calculator.path_source(path).config_json
        _, rank, targets, _, *others = values
        return (UPLOADED, uploaded, *self.new_model(UPLOADED, rank, targets, uploaded, *others))

    def tick(self, ticked: list[str], *values: Any) -> tuple:
        """The ticked names in place of the targets."""
        model, rank, _, *others = values
        targets = ",".join(ticked)
        values = (model, rank, targets, *others)
        return (targets, *self.view(*values), self.methods(*values))

    def retarget(self, *values: Any) -> tuple:
        """The tick-list of the model, then everything."""
        found = chosen(self._settings, values)
        available = calculator.available_modules(found.source, found.choice)
        return (_ticks(available), *shown(found, *values[-2:]), self.methods(*values))


def _wire(
    engine: Engine,
    blocks: gr.Blocks,
    fields: ModelFields,
    memory: list[gr.components.Component],
    outputs: list[gr.components.Component],
    methods: gr.HTML,
    problem: gr.HTML,
) -> None:
    act, inputs, everything = _Handlers(engine), [*fields.values, *memory], [*outputs, methods]
    model, rank, targets, ticks = fields.model, fields.rank, fields.targets, fields.ticks
    last = {"problem": problem, "trigger_mode": "always_last"}
    wire(
        [blocks.load], act.open_page, inputs, [model, rank, targets, ticks, *everything],
        problem=problem,
    )  # fmt: skip
    wire([model.input], act.new_model, inputs, [targets, ticks, *everything], **last)
    wire([targets.input], act.retarget, inputs, [ticks, *everything], **last)
    wire([ticks.input], act.tick, [ticks, *inputs], [targets, *everything], **last)
    wire(
        [fields.upload.upload], act.take_config, [fields.upload, *inputs],
        [model, fields.uploaded, targets, ticks, *everything], problem=problem,
    )  # fmt: skip
    gr.on(
        [rank.input],
        fn=None,
        inputs=[rank],
        js=live.show_rank_js("model-tiles"),
        api_name="page_show_model_rank",
        trigger_mode="always_last",
    )
    quick = [rank.input, *(field.input for field in (*fields.options, *memory))]
    wire(quick, act.view, inputs, outputs, **last)
    slow = [rank.input, *(field.input for field in fields.options)]
    wire(slow, act.methods, inputs, [methods], **last)
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


def shown(found: Chosen, rows: float | None, epochs: float | None) -> tuple[str, ...]:
    """The count's four parts, the memory's five, the time and what can be taken along."""
    counted = calculator.read_profile(found.source, found.choice).count
    return (
        _tiles_by_rank(found, counted),
        *_count_view(counted),
        *memory_estimate.view(found),
        training_time.view(found, rows, epochs),
        *export.view(found, counted),
    )


def _tiles_by_rank(found: Chosen, counted: calculator.ModelCount) -> str:
    """The tiles at every rank of the slider, so that moving it waits for no answer."""
    base = ("base model", layout.short_count(counted.base_parameters), "parameters, frozen")
    frames = [
        (
            base,
            ("trained", layout.count(at.trainable_parameters), "parameters"),
            ("share", layout.share(at.trainable_fraction), "trained of base"),
            ("adapter file", layout.byte_size(at.adapter_bytes), "in float32"),
        )
        for at in calculator.counts_at_ranks(found.source, found.choice, range(1, MOST_RANKS + 1))
    ]
    return live.rank_tiles_value(found.choice.rank, frames)


def _count_view(found: calculator.ModelCount) -> tuple[str, str, str]:
    rows = [
        (
            kind.kind,
            f"{kind.out_features:,} × {kind.in_features:,}",
            kind.rank,
            kind.layers,
            kind.parameters_each,
            kind.parameters,
        )
        for kind in found.kinds()
    ]
    rows += [(m.name, "trained whole", None, None, None, m.parameters) for m in found.saved_modules]
    table = live.table_value(KIND_COLUMNS, rows, empty="Nothing is trained.")
    grid = layer_map_value(found.layer_matrix())
    return grid, table, layout.notes_html(found.warnings)


def methods_table(methods: tuple[calculator.MethodCount, ...]) -> str:
    rows = [
        (
            m.method,
            m.trainable_parameters,
            m.trainable_fraction,
            m.optimizer_state_gib,
            m.latency,
            m.formula,
            m.counted_by,
            m.note,
        )
        for m in methods
    ]
    return live.table_value(METHOD_COLUMNS, rows)
