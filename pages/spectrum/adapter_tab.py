"""The tab "An adapter": what its update uses of the rank it was given, module by module.

First the update alone, exact from the factors and quick; then beside the base weights, which
are read from their files. A pressed cell shows its spectrum and the base weight's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import gradio as gr
import numpy as np

from lora_engine.adapters.library import AdapterSummary
from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.spectrum import (
    Adapter,
    AdapterModule,
    Stopped,
    decompose,
    describe_adapter,
    read_adapter,
)
from lora_engine.spectrum.adapter_spectrum import AdapterSpectrum
from lora_engine.spectrum.delta_on_base import find_base_weight
from lora_engine.spectrum.progress import ReportProgress, WorkMonitor
from lora_engine.weights import open_checkpoint
from lora_engine.weights.checkpoint import Checkpoint
from pages.shared import figures, layout
from pages.shared.live import live_plot
from pages.shared.no_adapter import no_adapter_html
from pages.shared.wiring import problem_box, wire
from pages.spectrum import spectrum_figures
from pages.spectrum.adapter_view import map_value, module_detail, strongest
from pages.spectrum.long_work import Job, Turn, Turns, wire_stop
from pages.spectrum.matrix_source import model_folder
from pages.spectrum.module_map import module_grid

HOW_TO_GET_ONE = (
    "Train one (the example takes about a minute), or give the folder of a PEFT adapter below."
)
NAMED = "(name) => new URL(location.href).searchParams.get('adapter') || name"


class Fields(NamedTuple):
    """Which adapter, beside which base model; what to do where there is no adapter; the module
    that is shown."""

    chosen: gr.Dropdown
    base: gr.Dropdown
    empty: gr.HTML
    module: gr.Textbox


class Shown(NamedTuple):
    """The map, the module's numbers and plot, the progress and the stop button."""

    grid: gr.HTML
    detail: gr.HTML
    plot: gr.HTML
    doing: gr.HTML
    stop: gr.Button


def build_tab(engine: Engine, turns: Turns, blocks: gr.Blocks, tab: gr.Tab) -> None:
    """The tab's contents and its wiring; call it inside the tab."""
    fields, shown, problem = _layout(engine)
    options = {"problem": problem, "concurrency_limit": 4, "trigger_mode": "multiple"}
    _wire_page(engine, turns, fields, shown, blocks, tab, options)
    _wire_choices(engine, turns, fields, shown, options)
    _wire_module(engine, turns, fields, shown, options)
    wire_stop(turns, shown.stop, problem)


def _layout(engine: Engine) -> tuple[Fields, Shown, gr.HTML]:
    empty = gr.HTML(elem_id="adapter-empty", js_on_load="")
    with gr.Row():
        chosen = gr.Dropdown(
            adapter_choices(engine), value=None, label="Adapter", allow_custom_value=True,
            info="One trained here, or the folder of a PEFT adapter.", scale=2,
            elem_id="spectrum-adapter",
        )  # fmt: skip
        base = gr.Dropdown(
            ["", *engine.base_models.names()],
            value="", label="Base model", allow_custom_value=True,
            info="For shares of the base weight, and for DoRA's true update.", scale=1,
            elem_id="spectrum-base",
        )  # fmt: skip
    with gr.Row(elem_classes="rs-job"):
        doing = gr.HTML(elem_classes="rs-doing-box", js_on_load="")
        stop = gr.Button("Stop", variant="stop", size="sm", visible=False, scale=0, min_width=90)
    problem = problem_box()
    grid = module_grid("Modules of the adapter", elem_id="adapter-grid")
    detail = gr.HTML(elem_id="adapter-module", js_on_load="")
    plot = live_plot(label="Singular values of the module", elem_id="adapter-spectrum", height=340)
    module = gr.Textbox(visible=False)
    return Fields(chosen, base, empty, module), Shown(grid, detail, plot, doing, stop), problem


def _wire_page(
    engine: Engine,
    turns: Turns,
    fields: Fields,
    shown: Shown,
    blocks: gr.Blocks,
    tab: gr.Tab,
    options: dict,
) -> None:
    """What opens of itself: the adapter that the address names, else the newest."""

    def open_page(request: gr.Request) -> Iterator[tuple]:
        name = layout.state_of(request, "adapter")
        if not name:
            yield gr.skip()
            return
        picked = layout.state_of(request, "module")
        yield from _opened_with_fields(engine, turns.take(request), name, picked)

    def open_newest(name: str | None, request: gr.Request) -> Iterator[tuple]:
        known = engine.adapters.list()
        if name or not known:
            nothing = "" if known or name else no_adapter_html(engine, HOW_TO_GET_ONE)
            yield (*[gr.skip()] * 2, nothing, *[gr.skip()] * 6)
            return
        yield from _opened_with_fields(engine, turns.take(request), adapter_key(known[0]), "")

    everything = [*fields, *shown]
    itself = options | {"keeps_problem": True}
    wire([blocks.load], open_page, [], everything, **itself)
    wire([tab.select], open_newest, [fields.chosen], everything, js=NAMED, **itself)


def _wire_choices(
    engine: Engine, turns: Turns, fields: Fields, shown: Shown, options: dict
) -> None:
    """Another adapter, and another base model beside it."""

    def open_chosen(name: str | None, request: gr.Request) -> Iterator[tuple]:
        yield from _opened_with_fields(engine, turns.take(request), name or "", "")

    def with_base(
        name: str | None, base_name: str | None, picked: str, request: gr.Request
    ) -> Iterator[tuple]:
        yield from _opened(engine, turns.take(request), name or "", base_name or "", picked)

    chosen, base = fields.chosen, fields.base
    wire([chosen.input], open_chosen, [chosen], [*fields, *shown], **options)
    wire([base.input], with_base, [chosen, base, fields.module], shown, **options)


def _wire_module(engine: Engine, turns: Turns, fields: Fields, shown: Shown, options: dict) -> None:
    """A pressed cell of the map."""

    def show_module(
        name: str, base_name: str, event: gr.EventData, request: gr.Request
    ) -> Iterator[tuple]:
        picked = str(event._data.get("module", ""))[:500]
        yield (picked, *[gr.skip()] * 4)
        turn = turns.take(request)
        try:
            for outputs in _module_shown(engine, turn, name, base_name, picked):
                yield (gr.skip(), *outputs)
        except Stopped:
            if turn.by_person:
                yield (*[gr.skip()] * 3, "", gr.Button(visible=False))

    detailed = [fields.module, shown.detail, shown.plot, shown.doing, shown.stop]
    wire([shown.grid.select], show_module, [fields.chosen, fields.base], detailed, **options)


def _opened_with_fields(engine: Engine, turn: Turn, name: str, picked: str) -> Iterator[tuple]:
    """The fields for an adapter, then the map and the module as `_opened` gives them."""
    summary = engine.adapters.get(name)
    base = _usable_base(engine, summary)
    choices = gr.Dropdown(choices=adapter_choices(engine), value=name)
    yield (choices, base, "", picked, *[gr.skip()] * 5)
    for outputs in _opened(engine, turn, name, base, picked):
        yield (*[gr.skip()] * 4, *outputs)


def _opened(engine: Engine, turn: Turn, name: str, base: str, picked: str) -> Iterator[tuple]:
    """Map, module, plot, progress and stop: the update alone, then beside its base."""
    try:
        yield from _watched(engine, turn, name, base, picked)
    except Stopped:
        if turn.by_person:
            yield (*[gr.skip()] * 3, "", gr.Button(visible=False))
    except EngineError:
        yield (*[gr.skip()] * 3, "", gr.Button(visible=False))
        raise


def _watched(engine: Engine, turn: Turn, name: str, base: str, picked: str) -> Iterator[tuple]:
    working = gr.Button(visible=True)
    with Job(turn, lambda progress, stop: _alone(engine, name, progress, stop)) as job:
        for step in job.steps():
            yield (*[gr.skip()] * 3, step.html(), working)
        adapter, found = job.result()
    picked = picked if any(item.name == picked for item in found.modules) else strongest(found)
    yield (map_value(found, name, picked), *module_detail(name, found, picked), "", working)
    if base:
        weights = open_checkpoint(model_folder(engine, base))
        with Job(
            turn, lambda progress, stop: describe_adapter(adapter, weights, progress, stop)
        ) as job:
            for step in job.steps():
                yield (*[gr.skip()] * 3, step.html(), working)
            found = job.result()
        yield (map_value(found, name, picked), *module_detail(name, found, picked), "", working)
        for outputs in _module_shown(engine, turn, name, base, picked):
            yield (gr.skip(), *outputs)
    yield (*[gr.skip()] * 3, "", gr.Button(visible=False))


def _alone(
    engine: Engine, name: str, progress: ReportProgress, stop: StopSignal
) -> tuple[Adapter, AdapterSpectrum]:
    adapter = read_adapter(engine.adapters.get(name).path, WorkMonitor(stop=stop))
    return adapter, describe_adapter(adapter, None, progress, stop)


def _module_shown(engine: Engine, turn: Turn, name: str, base: str, picked: str) -> Iterator[tuple]:
    """One module: detail, plot, progress, stop; with its base weight's own spectrum."""
    adapter = read_adapter(engine.adapters.get(name).path)
    module = adapter.module(picked)
    weights = open_checkpoint(model_folder(engine, base)) if base else None
    alone = replace(adapter, modules=(module,))
    with Job(turn, lambda progress, stop: describe_adapter(alone, weights, progress, stop)) as job:
        for step in job.steps():
            yield (gr.skip(), gr.skip(), step.html(), gr.Button(visible=True))
        found = job.result()
    yield (*module_detail(name, found, picked), "", gr.Button(visible=weights is not None))
    values = None
    if weights is not None:
        work = _base_values(weights, module)
        with Job(turn, work) as job:
            for step in job.steps():
                yield (gr.skip(), gr.skip(), step.html(), gr.Button(visible=True))
            values = job.result()
    plot = spectrum_figures.spectra(picked, found.modules[0].singular_values, values)
    yield (gr.skip(), figures.to_json(plot), "", gr.Button(visible=False))


def _base_values(
    weights: Checkpoint, module: AdapterModule
) -> Callable[[ReportProgress, StopSignal], np.ndarray | None]:
    """Work for a Job: the singular values of the module's base weight, None where it has none."""

    def work(progress: ReportProgress, stop: StopSignal) -> np.ndarray | None:
        weight = find_base_weight(weights, module)
        if weight is None:
            return None
        found = decompose(weight, vectors=0, progress=progress, stop=stop)
        return found.singular_values

    return work


def _usable_base(engine: Engine, summary: AdapterSummary) -> str:
    """The base the adapter names, where its weights are on this machine."""
    name = summary.base_model or ""
    try:
        open_checkpoint(model_folder(engine, name))
    except EngineError:
        return ""
    return name


def adapter_key(adapter: AdapterSummary) -> str:
    """What an adapter is called in the address."""
    return adapter.run_id or str(adapter.path)


def adapter_choices(engine: Engine) -> list[tuple[str, str]]:
    """For dropdowns: every adapter known here, newest first."""
    return [
        (f"{adapter.name} (rank {adapter.rank})", adapter_key(adapter))
        for adapter in engine.adapters.list()
    ]
