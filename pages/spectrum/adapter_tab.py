"""The tab "An adapter": what its update uses of the rank it was given, module by module.

First the update alone, exact from the factors and quick; then beside the base weights, which
are read from their files. A pressed cell shows its spectrum and the base weight's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import gradio as gr
import numpy as np

from lora_engine.adapters import AdapterSummary
from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum import (
    Adapter,
    AdapterModule,
    AdapterSpectrum,
    ReportProgress,
    WorkMonitor,
    decompose,
    describe_adapter,
    find_base_weight,
    read_adapter,
)
from lora_engine.weights import Checkpoint, open_checkpoint
from pages.shared import figures, layout
from pages.shared.adapter_choices import adapter_choices, adapter_key
from pages.shared.background_work import (
    ProgressRow,
    TabTask,
    TabTasks,
    Work,
    connect_stop,
    progress_row,
)
from pages.shared.base_choices import list_bases_at_opening
from pages.shared.live import live_plot
from pages.shared.static_files import event_js
from pages.shared.wiring import Update, wire
from pages.spectrum import spectrum_figures
from pages.spectrum.adapter_view import adapter_grid_value, module_html, strongest
from pages.spectrum.matrix_source import model_folder
from pages.spectrum.module_grid import module_grid, pressed_module


@dataclass(frozen=True)
class AdapterFields:
    """Which adapter, beside which base model, and the module that is shown."""

    adapter: gr.Dropdown
    base: gr.Dropdown
    module: gr.Textbox


@dataclass(frozen=True)
class AdapterView:
    """The grid of modules; one module's numbers and plot."""

    grid: gr.HTML
    detail: gr.HTML
    plot: gr.HTML


def build_tab(engine: Engine, tasks: TabTasks, blocks: gr.Blocks, tab: gr.Tab) -> None:
    """The tab's contents and its wiring; call it inside the tab."""
    fields = _adapter_fields(engine)
    row = progress_row("adapter")
    view = _adapter_view()

    handlers = _Handlers(engine, tasks, fields, view, row)
    adapter, base, module = fields.adapter, fields.base, fields.module
    one_module = [view.detail, view.plot, *row.outputs]
    everything = [adapter, base, module, view.grid, *one_module]
    bind = partial(
        wire,
        problem=row.problem,
        concurrency_limit=4,
        trigger_mode="multiple",
        empties=[view.grid, view.detail, view.plot, row.progress],
    )
    bind([blocks.load], handlers.open_page, outputs=everything)
    list_bases_at_opening(engine, blocks, [fields.base], row.problem, first=[""])
    named = event_js("spectrum/address.js", "adapterInAddress")
    bind([tab.select], handlers.open_newest, [adapter], everything, js=named, keeps_problem=True)
    bind([adapter.input], handlers.open_adapter, [adapter], everything)
    bind([base.input], handlers.open_beside_base, [adapter, base, module], [view.grid, *one_module])
    bind([view.grid.select], handlers.open_module, [adapter, base], [module, *one_module])
    connect_stop(tasks, row)


def _adapter_fields(engine: Engine) -> AdapterFields:
    with gr.Row():
        adapter = gr.Dropdown(
            adapter_choices(engine, lora_alone=True),
            value=None,
            label=tr("Adapter"),
            allow_custom_value=True,
            info=tr("One trained here, or the folder of a PEFT adapter."),
            scale=2,
            elem_id="spectrum-adapter",
        )
        base = gr.Dropdown(
            ["", *engine.base_models.names()],
            value="",
            label=tr("Base model"),
            allow_custom_value=True,
            info=tr("For shares of the base weight, and for DoRA's true update."),
            scale=1,
            elem_id="spectrum-base",
        )
    return AdapterFields(adapter, base, gr.Textbox(visible=False))


def _adapter_view() -> AdapterView:
    return AdapterView(
        grid=module_grid(tr("Modules of the adapter"), elem_id="adapter-grid"),
        detail=gr.HTML(elem_id="adapter-module", js_on_load=""),
        plot=live_plot(
            label=tr("Singular values of the module"), elem_id="adapter-spectrum", height=340
        ),
    )


@dataclass(frozen=True)
class _Handlers:
    """What the tab's events do."""

    engine: Engine
    tasks: TabTasks
    fields: AdapterFields
    view: AdapterView
    row: ProgressRow

    def open_page(self, request: gr.Request) -> Iterator[Update]:
        """The adapter that the address names."""
        name = layout.state_of(request, "adapter")
        if not name:
            yield {}
            return
        yield from self._with_fields(request, name, layout.state_of(request, "module"))

    def open_newest(self, name: str | None, request: gr.Request) -> Iterator[Update]:
        """The newest adapter, where none is chosen yet: the program's own, at the least."""
        if name:
            yield {}
        else:
            newest = self.engine.adapters.of_lora()[0]
            yield from self._with_fields(request, adapter_key(newest))

    def open_adapter(self, name: str | None, request: gr.Request) -> Iterator[Update]:
        yield from self._with_fields(request, name or "")

    def open_beside_base(
        self, name: str | None, base: str | None, picked: str, request: gr.Request
    ) -> Iterator[Update]:
        """The same adapter beside another base model."""
        task = self.tasks.start(request)
        yield from self._describe(task, name or "", base or "", picked)

    def open_module(
        self, name: str, base: str, event: gr.EventData, request: gr.Request
    ) -> Iterator[Update]:
        """The module whose cell was pressed."""
        picked = pressed_module(event)
        yield {self.fields.module: picked}
        task = self.tasks.start(request)
        yield from self.row.until_stopped(task, self._describe_module(task, name, base, picked))

    def _with_fields(self, request: gr.Request, name: str, picked: str = "") -> Iterator[Update]:
        """The fields for an adapter, then its grid and one module."""
        task = self.tasks.start(request)
        base = _usable_base(self.engine, self.engine.adapters.get(name))
        if task.is_set():  # something else was chosen meanwhile, and stands in the fields
            return
        yield {
            self.fields.adapter: gr.Dropdown(
                choices=adapter_choices(self.engine, lora_alone=True), value=name
            ),
            self.fields.base: base,
            self.fields.module: picked,
        }
        yield from self._describe(task, name, base, picked)

    def _describe(self, task: TabTask, name: str, base: str, picked: str) -> Iterator[Update]:
        """The grid and one module: of the update alone, then beside its base."""
        updates = self._describe_all(task, name, base, picked)
        yield from self.row.until_stopped(task, updates)

    def _describe_all(self, task: TabTask, name: str, base: str, picked: str) -> Iterator[Update]:
        def read(progress: ReportProgress, stop: StopSignal) -> tuple[Adapter, AdapterSpectrum]:
            adapter = read_adapter(self.engine.adapters.get(name).path, WorkMonitor(stop=stop))
            return adapter, describe_adapter(adapter, None, progress, stop)

        adapter, found = yield from self.row.watch(task, read)
        if not any(module.name == picked for module in found.modules):
            picked = strongest(found)
        yield {**self._shown(name, found, picked), self.row.progress: ""}
        if base:
            weights = open_checkpoint(model_folder(self.engine, base))
            found = yield from self.row.watch(task, _describing(adapter, weights))
            yield {**self._shown(name, found, picked), self.row.progress: ""}
            yield from self._describe_module(task, name, base, picked)
        yield self.row.idle()

    def _describe_module(
        self, task: TabTask, name: str, base: str, picked: str
    ) -> Iterator[Update]:
        """One module, with its base weight's own spectrum where there is one."""
        adapter = read_adapter(self.engine.adapters.get(name).path)
        module = adapter.module(picked)
        weights = open_checkpoint(model_folder(self.engine, base)) if base else None
        alone = replace(adapter, modules=(module,))
        found = yield from self.row.watch(task, _describing(alone, weights))
        yield {**self._module_shown(name, found, picked), self.row.progress: ""}
        values = None
        if weights is not None:
            values = yield from self.row.watch(task, _decomposing_base(weights, module))
        plot = spectrum_figures.spectra(picked, found.modules[0].singular_values, values)
        yield {self.view.plot: figures.to_json(plot), **self.row.idle()}

    def _shown(self, name: str, found: AdapterSpectrum, picked: str) -> Update:
        """The grid, and the module `picked`."""
        grid = adapter_grid_value(found, name, picked)
        return {self.view.grid: grid, **self._module_shown(name, found, picked)}

    def _module_shown(self, name: str, found: AdapterSpectrum, picked: str) -> Update:
        """The module's numbers, and the plot of its update alone."""
        module = next(item for item in found.modules if item.name == picked)
        plot = spectrum_figures.spectra(picked, module.singular_values, None)
        return {
            self.view.detail: module_html(name, module),
            self.view.plot: figures.to_json(plot),
        }


def _describing(adapter: Adapter, weights: Checkpoint | None) -> Work[AdapterSpectrum]:
    """Work: the spectrum of every module, beside the base weights where they are given."""

    def describe(progress: ReportProgress, stop: StopSignal) -> AdapterSpectrum:
        return describe_adapter(adapter, weights, progress, stop)

    return describe


def _decomposing_base(weights: Checkpoint, module: AdapterModule) -> Work[np.ndarray | None]:
    """Work: the singular values of the module's base weight, None where it has none."""

    def decompose_base(progress: ReportProgress, stop: StopSignal) -> np.ndarray | None:
        weight = find_base_weight(weights, module)
        if weight is None:
            return None
        found = decompose(weight, vectors=0, progress=progress, stop=stop)
        return found.singular_values

    return decompose_base


def _usable_base(engine: Engine, summary: AdapterSummary) -> str:
    """The base the adapter names, where its weights are on this machine; else nothing."""
    name = summary.base_model or ""
    try:
        open_checkpoint(model_folder(engine, name))
    except EngineError:
        return ""
    return name
