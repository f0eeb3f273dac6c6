"""The tab "An adapter": what its update uses of the rank it was given, module by module.

First the update alone, exact from the factors and quick; then beside the base weights, which
are read from their files. A pressed cell shows its spectrum and the base weight's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from html import escape

import gradio as gr
import numpy as np

from lora_engine.adapters.library import AdapterSummary
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
from lora_engine.spectrum import metrics as of
from lora_engine.spectrum.base_delta import find_base_weight
from lora_engine.spectrum.decomposition import SHARES
from lora_engine.spectrum.describe import AdapterSpectrum, ModuleSpectrum
from lora_engine.spectrum.watch import Progress, StopSign, Watch
from lora_engine.weights import open_checkpoint
from lora_engine.weights.checkpoint import Checkpoint
from pages import SPECTRUM, TRAIN, figures, layout, spectrum_figures
from pages.live import live_plot
from pages.spectrum_grid import Cell, Measure, grid_value, module_grid
from pages.spectrum_job import Job, Turn, Turns, wire_stop
from pages.spectrum_source import model_folder
from pages.wiring import problem_box, wire

MEASURES = (
    Measure("k95", "directions for 95 %", "Directions that carry 95 % of the update's energy.",
            "count"),
    Measure("norm", "norm", "‖ΔW‖, the Frobenius norm of the update.", log=True),
    Measure("effective", "effective rank", "exp(−Σ p ln p) with p = σ / Σσ (Roy, Vetterli 2007)."),
    Measure("k90", "directions for 90 %", "Directions that carry 90 % of the update's energy.",
            "count"),
    Measure("share", "share of the base", "‖ΔW‖ / ‖W‖, with the base weight's norm.", "share",
            log=True),
    Measure("amplification", "amplification",
            "‖ΔW‖ / ‖UᵀWV‖ with the update's own directions U, V: how much more of them there is "
            "now (LoRA paper, table 7).", log=True),
)  # fmt: skip


NAMED = "(name) => new URL(location.href).searchParams.get('adapter') || name"


def build_tab(engine: Engine, turns: Turns, blocks: gr.Blocks, tab: gr.Tab) -> None:
    """The tab's contents and its wiring; call it inside the tab."""
    empty = gr.HTML(elem_id="adapter-empty", js_on_load="")
    with gr.Row():
        chosen = gr.Dropdown(
            adapter_choices(engine), value=None, label="Adapter", allow_custom_value=True,
            info="One trained here, or the folder of a PEFT adapter.", scale=2,
            elem_id="spectrum-adapter",
        )  # fmt: skip
        base = gr.Dropdown(
            ["", *engine.base_model_names()], value="", label="Base model", allow_custom_value=True,
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
    shown = [grid, detail, plot, doing, stop]

    def open_page(request: gr.Request) -> Iterator[tuple]:
        name = layout.state_of(request, "adapter")
        if not name:
            yield gr.skip()
            return
        picked = layout.state_of(request, "module")
        yield from _opened_with_fields(engine, turns.take(request), name, picked)

    def open_newest(name: str | None, request: gr.Request) -> Iterator[tuple]:
        known = engine.adapters()
        if name or not known:
            nothing = "" if known or name else _nothing_here()
            yield (*[gr.skip()] * 2, nothing, *[gr.skip()] * 6)
            return
        yield from _opened_with_fields(engine, turns.take(request), adapter_key(known[0]), "")

    def open_chosen(name: str | None, request: gr.Request) -> Iterator[tuple]:
        yield from _opened_with_fields(engine, turns.take(request), name or "", "")

    def with_base(
        name: str | None, base_name: str | None, picked: str, request: gr.Request
    ) -> Iterator[tuple]:
        yield from _opened(engine, turns.take(request), name or "", base_name or "", picked)

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

    everything = [chosen, base, empty, module, *shown]
    options = {"problem": problem, "concurrency_limit": 4, "trigger_mode": "multiple"}
    detailed = [module, detail, plot, doing, stop]
    wire([blocks.load], open_page, [], everything, **options)
    wire([tab.select], open_newest, [chosen], everything, js=NAMED, **options)
    wire([chosen.input], open_chosen, [chosen], everything, **options)
    wire([base.input], with_base, [chosen, base, module], shown, **options)
    wire([grid.select], show_module, [chosen, base], detailed, **options)
    wire_stop(turns, stop, problem)


def _opened_with_fields(engine: Engine, turn: Turn, name: str, picked: str) -> Iterator[tuple]:
    """The fields for an adapter, then the map and the module as `_opened` gives them."""
    summary = engine.adapter(name)
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
    picked = picked if any(item.name == picked for item in found.modules) else _strongest(found)
    yield (_map(found, name, picked), *_detail(name, found, picked), "", working)
    if base:
        weights = open_checkpoint(model_folder(engine, base))
        with Job(
            turn, lambda progress, stop: describe_adapter(adapter, weights, progress, stop)
        ) as job:
            for step in job.steps():
                yield (*[gr.skip()] * 3, step.html(), working)
            found = job.result()
        yield (_map(found, name, picked), *_detail(name, found, picked), "", working)
        for outputs in _module_shown(engine, turn, name, base, picked):
            yield (gr.skip(), *outputs)
    yield (*[gr.skip()] * 3, "", gr.Button(visible=False))


def _alone(
    engine: Engine, name: str, progress: Progress, stop: StopSign
) -> tuple[Adapter, AdapterSpectrum]:
    adapter = read_adapter(engine.adapter(name).path, Watch(should_stop=stop))
    return adapter, describe_adapter(adapter, None, progress, stop)


def _module_shown(engine: Engine, turn: Turn, name: str, base: str, picked: str) -> Iterator[tuple]:
    """One module: detail, plot, progress, stop; with its base weight's own spectrum."""
    adapter = read_adapter(engine.adapter(name).path)
    module = adapter.module(picked)
    weights = open_checkpoint(model_folder(engine, base)) if base else None
    alone = replace(adapter, modules=(module,))
    with Job(turn, lambda progress, stop: describe_adapter(alone, weights, progress, stop)) as job:
        for step in job.steps():
            yield (gr.skip(), gr.skip(), step.html(), gr.Button(visible=True))
        found = job.result()
    yield (*_detail(name, found, picked), "", gr.Button(visible=weights is not None))
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
) -> Callable[[Progress, StopSign], np.ndarray | None]:
    """Work for a Job: the singular values of the module's base weight, None where it has none."""

    def work(progress: Progress, stop: StopSign) -> np.ndarray | None:
        weight = find_base_weight(weights, module)
        if weight is None:
            return None
        found = decompose(weight, vectors=0, progress=progress, should_stop=stop)
        return found.singular_values

    return work


def _map(found: AdapterSpectrum, name: str, picked: str) -> str:
    cells = [Cell(module.name, _numbers(module), module.sentence()) for module in found.modules]
    return grid_value(
        cells, MEASURES, sentence=found.sentence(), notes=found.notes,
        state={"adapter": name}, chosen=picked,
    )  # fmt: skip


def _numbers(module: ModuleSpectrum) -> dict[str, float | None]:
    base = module.base
    return {
        "norm": module.frobenius_norm,
        "effective": of.effective_rank(module.singular_values),
        "k90": module.directions(0.90),
        "k95": module.directions(0.95),
        "share": base.relative_norm if base else None,
        "amplification": base.amplification if base else None,
    }


def _detail(name: str, found: AdapterSpectrum, picked: str) -> tuple[str, str]:
    """The chosen module's numbers, and the plot of its update alone."""
    module = next(item for item in found.modules if item.name == picked)
    base = module.base
    counts = ", ".join(f"{module.directions(share):,}" for share in SHARES)
    tiles = [
        ("norm ‖ΔW‖", layout.number(module.frobenius_norm), "Frobenius"),
        ("effective rank", layout.number(of.effective_rank(module.singular_values)),
         f"of the {module.rank:,} trained"),
        ("directions for 90, 95, 99 %", counts, "of the energy"),
        ("scaling", layout.number(module.scaling), "α / r, or α / √r with rsLoRA"),
    ]  # fmt: skip
    if base is not None:
        tiles.append(("share of the base", layout.share(base.relative_norm), "‖ΔW‖ / ‖W‖"))
        if base.amplification is not None:
            tiles.append(("amplification", layout.number(base.amplification), "‖ΔW‖ / ‖UᵀWV‖"))
    address = layout.link(SPECTRUM, update=name, module=picked)
    html = (
        f'<div class="rs-module"><h3>{escape(picked)} <span>{module.shape[0]:,} × '
        f"{module.shape[1]:,}</span></h3><p>{escape(module.sentence())}</p>"
        f'{layout.tiles_html(tiles)}<p><a class="rs-button rs-small" href="{escape(address)}">'
        "See this update at every k</a></p></div>"
    )
    plot = spectrum_figures.spectra(picked, module.singular_values, None)
    return html, figures.to_json(plot)


def _strongest(found: AdapterSpectrum) -> str:
    """The module that changed most: the one shown first."""
    return max(found.modules, key=lambda module: module.frobenius_norm).name


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
        for adapter in engine.adapters()
    ]


def _nothing_here() -> str:
    return layout.empty_state_html(
        "No adapter yet",
        "Train one (the example takes about a minute), or give the folder of a PEFT adapter below.",
        "Train the example",
        TRAIN.path,
    )
