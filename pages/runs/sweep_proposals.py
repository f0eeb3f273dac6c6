"""From the spectrum back to ranks: proposals at an equal budget, measured, and trained with.

Lays the section out and does the work in the background; the values are made beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from lora_engine.advisor import ProposalLosses, RankProposals
from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from lora_engine.runs import RunState, RunView, SweepView
from lora_engine.spectrum import ReportProgress
from pages.runs import sweep_proposal_values as told
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
One rank for every module spends as much on a module that uses 2 directions as on one that uses 20.
Two proposals spend the same number of parameters where the spectrum of a trained adapter is:

**Global threshold.** One $\sigma$ for all modules; the directions above it stay. **Explained
variance.** One share of each module's own $\sum \sigma^2$, at most $2r$ a module, after EVA (arXiv
2410.07170), which takes the variance of the inputs instead. Every module keeps rank 1 at least.

**Measured** is the adapter cut to these ranks (Eckart and Young 1936): its loss on its held-out
rows and on general questions, each with its interval, beside one rank for all. **Train with it**
opens the Train page with the same data and settings, and these ranks by module; the scaling
$\alpha / r$ stays the same in every module.

**Example.** Two equal modules and rank 4: $4 + 4 = 8$. If one has $\sigma = 5, 4, 3, 2, 1$ and the
other $1, 0.1, 0.1, \dots$, a threshold just below 1 gives ranks 5 and 1, with more of the energy.
""")


@dataclass(frozen=True)
class ProposalFields:
    """From which adapter, and at the budget of which rank everywhere."""

    run: gr.Dropdown
    rank: gr.Number

    @property
    def outputs(self) -> list[Block]:
        return [self.run, self.rank]

    def offering(self, sweep: SweepView, recommended: int | None = None) -> Update:
        """The finished runs, that of the largest rank chosen, at the recommended budget.

        Where none is recommended, or the largest rank itself, the budget is half of that.
        """
        ranks = ranks_of_finished(sweep)
        if not ranks:
            return {self.run: gr.Dropdown(choices=[], value=None)}
        largest = max(ranks, key=lambda run_id: ranks[run_id])
        half = max(1, ranks[largest] // 2)
        below = recommended is not None and recommended < ranks[largest]
        return {
            self.run: gr.Dropdown(choices=choices_in(sweep), value=largest),
            self.rank: recommended if below else half,
        }

    def keeping(self, sweep: SweepView, chosen: str | None) -> Update:
        """The finished runs as choices; what was chosen stays."""
        if not chosen:
            return self.offering(sweep)
        return {self.run: gr.Dropdown(choices=choices_in(sweep))}


@dataclass(frozen=True)
class ProposalView:
    """What is proposed, a plot for each proposal but the uniform one."""

    words: gr.HTML
    plots: Sequence[gr.HTML]
    table: gr.HTML
    train: gr.HTML

    @property
    def outputs(self) -> list[gr.HTML]:
        return [self.words, *self.plots, self.table, self.train]

    def showing(self, found: RankProposals, run: RunView) -> Update:
        plots: Update = {
            plot: figures.to_json(told.figure(found, one))
            for plot, one in zip(self.plots, found.proposals[1:], strict=True)
        }
        return {
            self.words: told.words_html(found, run.record.name),
            self.table: told.proposals_value(found),
            self.train: told.train_links_html(found, run.id, run.record.readable_spec()),
            **plots,
        }


def build_proposals(engine: Engine) -> ProposalFields:
    """Lay the section out and wire it. Returns its fields, for the tab to fill."""
    layout.section(
        tr("The same budget, where it is used"),
        tr("Ranks by module, from the spectrum of one adapter: proposed, measured, trained with."),
    )
    with gr.Row():
        run = gr.Dropdown(
            [], label=tr("Adapter"), elem_id="propose-run", min_width=220,
            info=tr("Whose spectrum decides. A larger rank leaves more to choose."),
        )  # fmt: skip
        rank = gr.Number(
            None, label=tr("Budget"), elem_id="propose-rank", min_width=220,
            info=tr("As many parameters as this rank has in every module."),
        )  # fmt: skip
    with gr.Row(elem_classes="rs-actions"):
        propose = gr.Button(
            tr("Propose ranks"), variant="primary", elem_id="propose", min_width=190, scale=0
        )
        measure = gr.Button(
            tr("Propose and measure"), elem_id="propose-measure", min_width=260, scale=0
        )
    fields = ProposalFields(run, rank)
    tasks, row = TabTasks(), progress_row("propose")
    view = _lay_out_view()
    layout.how_this_works(tr(HELP), tr("How ranks are proposed"))
    handlers = _Handlers(engine, tasks, row, view)
    outputs = [*view.outputs, *row.outputs]
    for button, handler in ((propose, handlers.propose), (measure, handlers.measure)):
        wire([button.click], handler, [run, rank], outputs,
             problem=row.problem, empties=[*view.outputs, row.progress])  # fmt: skip
    connect_stop(tasks, row)
    return fields


def _lay_out_view() -> ProposalView:
    words = gr.HTML(elem_id="proposed-words", js_on_load="")
    with gr.Row(elem_classes="rs-sweep-plots"):
        plots = [
            live_plot(
                label=tr("Proposed ranks: {kind}", kind=tr(told.KINDS[kind])),
                elem_id=f"proposed-{name}",
                height=300,
            )
            for name, kind in (("threshold", "threshold"), ("variance", "explained variance"))
        ]
    table = live_table(label=tr("Proposals"), file_name="proposals.csv", elem_id="proposed-table")
    train = gr.HTML(elem_id="proposed-train", js_on_load="")
    return ProposalView(words, plots, table, train)


@dataclass(frozen=True)
class _Handlers:
    """What the buttons do."""

    engine: Engine
    tasks: TabTasks
    row: ProgressRow
    view: ProposalView

    def propose(self, run: str | None, rank: float | None, request: gr.Request) -> Iterator[Update]:
        """Ranks by module at the budget, from the adapter's spectrum."""
        view, budget = self._chosen(run), budget_in(rank)
        task = self.tasks.start(request)
        yield from self.row.until_stopped(task, self._proposed(task, view, budget))

    def measure(self, run: str | None, rank: float | None, request: gr.Request) -> Iterator[Update]:
        """The same, and what each costs on held-out and general rows."""
        view, budget = self._chosen(run), budget_in(rank)
        task = self.tasks.start(request)
        yield from self.row.until_stopped(task, self._measured(task, view, budget))

    def _proposed(self, task: TabTask, run: RunView, rank: int) -> Iterator[Update]:
        found = yield from self.row.watch(task, proposing(self.engine, run.id, rank))
        yield {**self.view.showing(found, run), **self.row.idle()}

    def _measured(self, task: TabTask, run: RunView, rank: int) -> Iterator[Update]:
        found = yield from self.row.watch(task, proposing(self.engine, run.id, rank))
        yield {
            **self.view.showing(found, run),
            **self.row.working(0.0, tr("measuring the proposals")),
        }
        losses = yield from self.row.watch(task, measuring(self.engine, run.id, found))
        yield {
            self.view.words: told.measured_html(losses, run.record.name),
            self.view.table: told.measured_value(found, losses),
            **self.row.idle(),
        }

    def _chosen(self, run: str | None) -> RunView:
        if not run:
            raise EngineError(
                tr("No adapter is chosen."),
                tr("Choose a finished run of the sweep, or wait for one."),
            )
        return self.engine.runs.get(run)


def ranks_of_finished(sweep: SweepView) -> dict[str, int]:
    """The ranks of the sweep's finished runs, by id."""
    return {
        run.id: run.record.spec.method.rank
        for run in sweep.runs
        if run.record.state is RunState.FINISHED and run.record.spec is not None
    }


def choices_in(sweep: SweepView) -> list[tuple[str, str]]:
    """Name and id of each finished run."""
    names = {run.id: run.record.name for run in sweep.runs}
    return [(names[run_id], run_id) for run_id in ranks_of_finished(sweep)]


def budget_in(rank: float | None) -> int:
    """The rank that was typed. Raises EngineError where it is no whole number."""
    whole = layout.whole(rank)
    if not isinstance(whole, int):
        raise EngineError(
            tr("The budget is empty; a whole rank is needed.")
            if rank is None
            else tr("The budget is {rank}; a whole rank is needed.", rank=rank),
            tr("Give one that is smaller than the adapter's rank."),
        )
    return whole


def proposing(engine: Engine, run: str, rank: int) -> Work[RankProposals]:
    """Work: ranks by module at the budget of `rank` everywhere."""

    def propose(progress: ReportProgress, stop: StopSignal) -> RankProposals:
        return engine.advisor.propose_ranks(run, rank, progress=progress, stop=stop)

    return propose


def measuring(engine: Engine, run: str, proposals: RankProposals) -> Work[ProposalLosses]:
    """Work: the losses of the adapter cut to each proposal."""

    def measure(progress: ReportProgress, stop: StopSignal) -> ProposalLosses:
        return engine.advisor.measure_proposals(run, proposals, progress=progress, stop=stop)

    return measure
