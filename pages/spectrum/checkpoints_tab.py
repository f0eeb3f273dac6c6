"""The tab "Two checkpoints": what a full fine-tuning changed, module by module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from html import escape

import gradio as gr

from lora_engine.base_models import STARTER
from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum import (
    CheckpointComparison,
    Decomposition,
    DifferenceSource,
    ReportProgress,
    compare_checkpoints,
    decompose,
)
from lora_engine.weights import open_checkpoint
from pages.shared import figures, layout
from pages.shared.background_work import (
    ProgressRow,
    TabTask,
    TabTasks,
    connect_stop,
    progress_row,
)
from pages.shared.base_choices import list_bases_at_opening
from pages.shared.live import live_plot
from pages.shared.wiring import Update, wire
from pages.spectrum import spectrum_figures
from pages.spectrum.checkpoints_view import change_html, changes_grid_value
from pages.spectrum.matrix_source import model_folder
from pages.spectrum.module_grid import module_grid, pressed_module


@dataclass(frozen=True)
class CheckpointFields:
    """Which two models, and how closely to look."""

    base: gr.Dropdown
    tuned: gr.Dropdown
    intruders: gr.Checkbox
    compare: gr.Button


@dataclass(frozen=True)
class CheckpointView:
    """The grid of modules; one module's words and plot."""

    grid: gr.HTML
    detail: gr.HTML
    plot: gr.HTML


def build_tab(engine: Engine, tasks: TabTasks, blocks: gr.Blocks) -> None:
    """The tab's contents and its wiring; call it inside the tab."""
    fields = _checkpoint_fields(engine)
    row = progress_row("checkpoint")
    view = CheckpointView(
        grid=module_grid(tr("Modules of the two checkpoints"), elem_id="checkpoint-grid"),
        detail=gr.HTML(elem_id="checkpoint-module", js_on_load=""),
        plot=live_plot(label=tr("Singular values of the change"), height=340),
    )

    handlers = _Handlers(engine, tasks, fields, view, row)
    both = [fields.base, fields.tuned]
    one_module = [view.detail, view.plot, *row.outputs]
    results = [view.grid, view.detail, view.plot]
    bind = partial(
        wire,
        problem=row.problem,
        concurrency_limit=4,
        trigger_mode="multiple",
        empties=[*results, row.progress],
    )
    bind([blocks.load], handlers.open_page, outputs=[*both, view.grid, *one_module])
    changes = [fields.base.input, fields.tuned.input, fields.intruders.input]
    wire(changes, handlers.forget, [], [*results, row.progress], problem=row.problem)
    bind([fields.compare.click], handlers.compare, [*both, fields.intruders],
         [view.grid, *one_module])  # fmt: skip
    bind([view.grid.select], handlers.open_module, both, one_module)
    list_bases_at_opening(engine, blocks, both, row.problem)
    connect_stop(tasks, row)


def _checkpoint_fields(engine: Engine) -> CheckpointFields:
    said = tr(
        "The same model before and after it was trained as a whole. Both are read from their files "
        "block by block; neither is loaded."
    )
    gr.HTML(f'<p class="rs-doing">{escape(said)}</p>', js_on_load="")
    with gr.Row():
        base = _model_field(engine, tr("Base"), STARTER, "checkpoint-base")
        tuned = _model_field(engine, tr("Tuned"), None, "checkpoint-tuned")
    with gr.Row(elem_classes="rs-actions"):
        intruders = gr.Checkbox(
            label=tr("Look for intruder dimensions (slower)"),
            value=False,
            container=False,
            elem_id="checkpoint-intruders",
        )
        compare = gr.Button(tr("Compare"), variant="primary", elem_id="compare-checkpoints")
    return CheckpointFields(base, tuned, intruders, compare)


def _model_field(engine: Engine, label: str, value: str | None, elem_id: str) -> gr.Dropdown:
    return gr.Dropdown(
        engine.base_models.names(),
        value=value,
        label=label,
        allow_custom_value=True,
        info=tr("A model here, or the folder of one."),
        elem_id=elem_id,
    )


@dataclass(frozen=True)
class _Handlers:
    """What the tab's events do."""

    engine: Engine
    tasks: TabTasks
    fields: CheckpointFields
    view: CheckpointView
    row: ProgressRow

    def forget(self) -> Update:
        """What was compared is not what is chosen now."""
        return dict.fromkeys(
            (self.view.grid, self.view.detail, self.view.plot, self.row.progress), ""
        )

    def open_page(self, request: gr.Request) -> Iterator[Update]:
        """The two models that the address names."""
        tuned = layout.state_of(request, "tuned")
        if not tuned:
            yield {}
            return
        base = layout.state_of(request, "base", STARTER)
        yield {self.fields.base: base, self.fields.tuned: tuned}
        task = self.tasks.start(request)
        updates = self._compare(task, base, tuned, picked=layout.state_of(request, "module"))
        yield from self.row.until_stopped(task, updates)

    def compare(
        self, base: str | None, tuned: str | None, intruders: bool, request: gr.Request
    ) -> Iterator[Update]:
        if not base or not tuned:
            raise EngineError(tr("Two models are needed."), tr("Choose a base and a tuned model."))
        task = self.tasks.start(request)
        updates = self._compare(task, base, tuned, intruders)
        yield from self.row.until_stopped(task, updates)

    def open_module(
        self, base: str, tuned: str, event: gr.EventData, request: gr.Request
    ) -> Iterator[Update]:
        """The module whose cell was pressed."""
        task = self.tasks.start(request)
        updates = self._describe_module(task, base, tuned, pressed_module(event))
        yield from self.row.until_stopped(task, updates)

    def _compare(
        self, task: TabTask, base: str, tuned: str, intruders: bool = False, picked: str = ""
    ) -> Iterator[Update]:
        """The grid, and the module `picked`, or the one that changed most."""
        base_folder, tuned_folder = self._folders(base, tuned)

        def work(progress: ReportProgress, stop: StopSignal) -> CheckpointComparison:
            return compare_checkpoints(base_folder, tuned_folder, True, intruders, progress, stop)

        found = yield from self.row.watch(task, work)
        changed = [module for module in found.modules if module.changed]
        if not any(module.name == picked for module in changed):
            picked = max(changed, key=lambda one: one.relative_change).name if changed else ""
        grid = changes_grid_value(found, {"base": base, "tuned": tuned}, picked)
        if changed:
            yield {self.view.grid: grid}
            yield from self._describe_module(task, base, tuned, picked)
        else:
            emptied: Update = {self.view.detail: "", self.view.plot: ""}
            yield {self.view.grid: grid, **emptied, **self.row.idle()}

    def _describe_module(
        self, task: TabTask, base: str, tuned: str, picked: str
    ) -> Iterator[Update]:
        """One module: words, and the spectra of its change and of the base weight."""
        before, after = (
            open_checkpoint(folder).matrix(picked) for folder in self._folders(base, tuned)
        )

        def work(progress: ReportProgress, stop: StopSignal) -> tuple[Decomposition, Decomposition]:
            change = decompose(DifferenceSource(before, after), vectors=0, stop=stop)
            whole = decompose(before, vectors=0, progress=progress, stop=stop)
            return change, whole

        change, whole = yield from self.row.watch(task, work)
        plot = spectrum_figures.spectra(picked, change.singular_values, whole.singular_values)
        yield {
            self.view.detail: change_html(picked, change),
            self.view.plot: figures.to_json(plot),
            **self.row.idle(),
        }

    def _folders(self, base: str, tuned: str) -> tuple[str, str]:
        return model_folder(self.engine, base), model_folder(self.engine, tuned)
