"""What of the trained ranks was used: effective ranks by module, and directions that runs share.

Lays the section out and does the work in the background; the values are made beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import gradio as gr

from lora_engine.advisor import UsedRank
from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from lora_engine.runs import RunState, SweepView
from lora_engine.spectrum import ReportProgress
from pages.runs import sweep_used_values as told
from pages.shared import figures, layout
from pages.shared.background_work import (
    ProgressRow,
    TabTask,
    TabTasks,
    Work,
    connect_stop,
    progress_row,
)
from pages.shared.live import live_plot, live_table
from pages.shared.wiring import Update, wire

HELP = translatable(r"""
The singular values $\sigma_i$ of each module's update $\Delta W$ are read from the factors. With
$p_i = \sigma_i^2 / \sum_j \sigma_j^2$, the **effective rank** is $e^{-\sum p_i \ln p_i}$: how many
equal directions would spread the energy as much. **k90** is the smallest $k$ whose first $k$
directions hold 90 % of it; k95 and k99 likewise.

**Example.** $\sigma = 3, 1, 0.5$: the energies are 9, 1 and 0.25, so k90 is 2 (97.6 %), although
the rank is 3.

$$\phi(i, j) = \lVert U_i^T V_j \rVert_F^2 / \min(i, j)$$

is how much of the first $i$ directions of one run lies in the first $j$ of another: 1 is all, and
random directions give about $\max(i, j) / n$ (Hu et al. 2021, figures 3 and 4). Directions that
two ranks or two seeds share were found by both; what lies at the random level is noise. What one
training used is no proof of what the task needs.
""")


@dataclass(frozen=True)
class UsedView:
    """What the section shows; `run` and `use` choose the heat map."""

    words: gr.HTML
    runs: gr.HTML
    run: gr.Dropdown
    use: gr.Radio
    heat: gr.HTML
    phi: gr.HTML
    pairs: gr.HTML
    modules: gr.HTML

    @property
    def outputs(self) -> list[gr.HTML]:
        return [self.words, self.runs, self.heat, self.phi, self.pairs, self.modules]


def build_used(engine: Engine, sweep_id: gr.Textbox) -> None:
    layout.section(
        tr("What was used"), tr("The spectrum of every adapter, and what the runs share.")
    )
    with gr.Row(elem_classes="rs-actions"):
        show = gr.Button(tr("Show what was used"), elem_id="used-show", min_width=250, scale=0)
    tasks, row = TabTasks(), progress_row("used")
    view = _lay_out()
    layout.how_this_works(tr(HELP), tr("Effective rank, k90 and φ"))
    handlers = _Handlers(engine, tasks, row, view)
    outputs = [view.run, *view.outputs, *row.outputs]
    wire([show.click], handlers.show_used, [sweep_id, view.use], outputs,
         problem=row.problem, empties=[*view.outputs, row.progress])  # fmt: skip
    wire([view.run.input, view.use.input], handlers.show_heat, [sweep_id, view.run, view.use],
         [view.heat, *row.outputs], problem=row.problem, empties=[view.heat, row.progress],
         trigger_mode="always_last")  # fmt: skip
    connect_stop(tasks, row)


def _lay_out() -> UsedView:
    words = gr.HTML(elem_id="used-words", js_on_load="")
    runs = live_table(label=tr("What each run used"), file_name="used.csv", elem_id="used-runs")
    with gr.Row():
        run = gr.Dropdown(
            [], label=tr("Run"), elem_id="used-run", min_width=220,
            info=tr("Whose modules are shown."),
        )  # fmt: skip
        use = gr.Radio(
            [(tr(use), use) for use in told.USES], value=told.EFFECTIVE_RANK,
            label=tr("By layer and weight"), elem_id="used-use", min_width=300,
        )  # fmt: skip
    with gr.Row(elem_classes="rs-sweep-plots"):
        heat = live_plot(label=tr("Used by layer and weight"), elem_id="used-heat", height=360)
        phi = live_plot(label=tr("Directions that runs share"), elem_id="used-phi", height=420)
    pairs = live_table(label=tr("Shared directions"), file_name="shared.csv", elem_id="used-pairs")
    with gr.Accordion(tr("Module by module"), open=False):
        modules = live_table(label=tr("Modules"), file_name="modules.csv", elem_id="used-modules")
    return UsedView(words, runs, run, use, heat, phi, pairs, modules)


@dataclass(frozen=True)
class _Handlers:
    """What the section's events do."""

    engine: Engine
    tasks: TabTasks
    row: ProgressRow
    view: UsedView

    def show_used(self, sweep_id: str, use: str, request: gr.Request) -> Iterator[Update]:
        """What every finished run used."""
        sweep = self.engine.sweeps.get(sweep_id)
        task = self.tasks.start(request)
        yield from self.row.until_stopped(task, self._used(task, sweep, use))

    def _used(self, task: TabTask, sweep: SweepView, use: str) -> Iterator[Update]:
        view, names = self.view, names_in(sweep)
        found = yield from self.row.watch(task, using(self.engine, finished_in(sweep)))
        last = found.runs[-1]
        choices = [(names[one.run], one.run) for one in found.runs]
        yield {
            view.words: told.words_html(found),
            view.runs: told.runs_value(found, names),
            view.run: gr.Dropdown(choices=choices, value=last.run),
            view.heat: figures.to_json(told.heat_map(last, names[last.run], use)),
            view.phi: figures.to_json(told.pairs_figure(found)) if found.pairs else "",
            view.pairs: told.pairs_value(found, names),
            view.modules: told.modules_value(found, names),
            **self.row.idle(),
        }

    def show_heat(
        self, sweep_id: str, run: str | None, use: str, request: gr.Request
    ) -> Iterator[Update]:
        """Another run, or another number of its modules."""
        sweep = self.engine.sweeps.get(sweep_id)
        task = self.tasks.start(request)
        yield from self.row.until_stopped(task, self._heat(task, sweep, run or "", use))

    def _heat(self, task: TabTask, sweep: SweepView, run: str, use: str) -> Iterator[Update]:
        found = yield from self.row.watch(task, using(self.engine, [run]))
        one = found.runs[0]
        figure = told.heat_map(one, names_in(sweep).get(run, run), use)
        yield {self.view.heat: figures.to_json(figure), **self.row.idle()}


def names_in(sweep: SweepView) -> dict[str, str]:
    """What the runs of a sweep are called, by id."""
    return {run.id: run.record.name for run in sweep.runs}


def finished_in(sweep: SweepView) -> list[str]:
    """The ids of its finished runs. Raises EngineError where there is none."""
    found = [run.id for run in sweep.runs if run.record.state is RunState.FINISHED]
    if not found:
        raise EngineError(
            tr("No run of this sweep has finished."),
            tr("Wait until at least one has its adapter."),
        )
    return found


def using(engine: Engine, runs: Sequence[str]) -> Work[UsedRank]:
    """Work: what these runs used, and what they share."""

    def use(progress: ReportProgress, stop: StopSignal) -> UsedRank:
        return engine.advisor.used_rank(runs, progress=progress, stop=stop)

    return use
