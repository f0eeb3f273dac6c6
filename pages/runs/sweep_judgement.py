"""The judgement of a sweep: the smallest rank that is not worse than the best, with its evidence.

Lays the section out and does the work in the background; the values are made beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import gradio as gr

from lora_engine.advisor import Judgement
from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from lora_engine.runs import SweepView
from lora_engine.spectrum import ReportProgress
from pages.runs import sweep_judgement_figures as drawn
from pages.runs import sweep_judgement_values as told
from pages.runs.sweep_proposals import ProposalFields
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
Every run is asked for its loss on the same held-out rows. A seed draws its own split, so a run
counts only on rows that it never saw, and ranks are compared seed by seed. Each rank stands by its
best setting (mostly: its best learning rate), and a setting by the mean over its seeds.

The difference of two ranks on the same rows has an interval by a bootstrap over the rows (10,000
draws, seeded), wide enough that those of **all pairs** hold together at 95 %: so the best may be
picked from the same rows. A rank is **not worse** where the upper end of its loss minus the best's
is at most the margin. The smallest such rank is recommended.

**Example.** The best rank, 32, has a loss of 1.200 and the margin is 2 % of it, 0.024. Rank 8 is
0.010 above it, between −0.004 and +0.021: it is not worse. Rank 4 lies between +0.015 and +0.060:
that it is not worse is not shown.

Rows are what the intervals are over. How another seed would have ended is seen from the points:
each is a seed's difference to the best rank's run of that seed.
**Forgetting** is the loss on general questions minus the base's: a rank that wins and forgets more
is not simply better. A run that **stalls** (its loss falls by less than 1 % from the second quarter
of the steps to the third) asks for a higher rank or learning rate; one whose evaluation **turns up
early** (lowest before 60 % of the steps, more than 2 % above that at the end) for a lower rank,
dropout or fewer epochs.
""")


@dataclass(frozen=True)
class JudgementView:
    """What the judgement shows."""

    tiles: gr.HTML
    words: gr.HTML
    losses: gr.HTML
    forgetting: gr.HTML
    pareto: Sequence[gr.HTML]
    ranks: gr.HTML
    missing: gr.HTML

    @property
    def outputs(self) -> list[gr.HTML]:
        plots = (self.losses, self.forgetting, *self.pareto)
        return [self.tiles, self.words, *plots, self.ranks, self.missing]

    def showing(self, found: Judgement) -> Update:
        forgetting = drawn.forgetting_figure(found)
        pareto: Update = {
            plot: figures.to_json(drawn.pareto_figure(found, cost))
            for plot, cost in zip(self.pareto, drawn.COSTS, strict=True)
        }
        return {
            self.tiles: told.tiles_html(found),
            self.words: told.words_html(found),
            self.losses: figures.to_json(drawn.losses_figure(found)),
            self.forgetting: figures.to_json(forgetting) if forgetting else "",
            **pareto,
            self.ranks: told.ranks_value(found),
            self.missing: told.missing_value(found),
        }


@dataclass(frozen=True)
class JudgementParts:
    """The section: its fields, its work and what it shows."""

    margin: gr.Textbox
    judge: gr.Button
    row: ProgressRow
    view: JudgementView


def lay_out() -> JudgementParts:
    layout.section(
        tr("Which rank is enough?"),
        tr("Judged on held-out rows, each run on those that it was not trained on."),
    )
    with gr.Row(elem_classes="rs-actions"):
        margin = gr.Textbox(
            label=tr("Margin"), elem_id="judge-margin", min_width=260, scale=0,
            placeholder=tr("2 % of the best loss"),
            info=tr("In nats a token: how much worse still counts as not worse."),
        )  # fmt: skip
        judge = gr.Button(tr("Judge"), variant="primary", elem_id="judge", min_width=110, scale=0)
    row, view = progress_row("judge"), _lay_out_view()
    layout.how_this_works(tr(HELP), tr("How a sweep is judged"))
    return JudgementParts(margin, judge, row, view)


def connect(
    engine: Engine, parts: JudgementParts, sweep_id: gr.Textbox, fields: ProposalFields
) -> None:
    """Wire the section; a judgement also chooses the budget of the proposals in `fields`."""
    tasks, row, view = TabTasks(), parts.row, parts.view
    handlers = _Handlers(engine, tasks, row, view, fields)
    wire([parts.judge.click], handlers.judge, [sweep_id, parts.margin],
         [*view.outputs, *fields.outputs, *row.outputs],
         problem=row.problem, empties=[*view.outputs, row.progress])  # fmt: skip
    connect_stop(tasks, row)


def _lay_out_view() -> JudgementView:
    tiles = gr.HTML(elem_id="judgement-tiles", js_on_load="")
    words = gr.HTML(elem_id="judgement", js_on_load="")
    with gr.Row(elem_classes="rs-sweep-plots"):
        losses = live_plot(label=tr("Held-out loss by rank"), elem_id="judged-losses", height=330)
        forgetting = live_plot(
            label=tr("Forgetting by rank"), elem_id="judged-forgetting", height=330
        )
    with gr.Row(elem_classes="rs-pareto-plots"):
        pareto = [
            live_plot(
                label=tr("Loss against {cost}", cost=tr(cost.title)),
                elem_id=f"pareto-{number}",
                height=230,
            )
            for number, cost in enumerate(drawn.COSTS)
        ]
    ranks = live_table(label=tr("Ranks judged"), file_name="ranks.csv", elem_id="judged-ranks")
    missing = live_table(label=tr("Not judged"), file_name="missing.csv", elem_id="judged-missing")
    return JudgementView(tiles, words, losses, forgetting, pareto, ranks, missing)


@dataclass(frozen=True)
class _Handlers:
    """What the button does."""

    engine: Engine
    tasks: TabTasks
    row: ProgressRow
    view: JudgementView
    fields: ProposalFields

    def judge(self, sweep_id: str, margin: str, request: gr.Request) -> Iterator[Update]:
        """Judge the sweep's finished runs, as far as there are any."""
        sweep = self.engine.sweeps.get(sweep_id)
        task = self.tasks.start(request)
        yield from self.row.until_stopped(task, self._judged(task, sweep, margin_in(margin)))

    def _judged(self, task: TabTask, sweep: SweepView, margin: float | None) -> Iterator[Update]:
        found = yield from self.row.watch(task, judging(self.engine, sweep, margin))
        yield {
            **self.view.showing(found),
            **self.fields.offering(sweep, found.recommended_rank),
            **self.row.idle(),
        }


def margin_in(text: str) -> float | None:
    """The margin that was typed; None where nothing was. Raises EngineError for no number."""
    if not text.strip():
        return None
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise EngineError(
            tr("The margin is {text}, which is no number.", text=repr(text.strip()[:40])),
            tr("Give nats a token, such as 0.02, or leave it empty."),
        ) from None


def judging(engine: Engine, sweep: SweepView, margin: float | None) -> Work[Judgement]:
    """Work: the judgement of all runs of a sweep."""

    def judge(progress: ReportProgress, stop: StopSignal) -> Judgement:
        return engine.advisor.judge(
            [run.id for run in sweep.runs],
            deleted=sweep.deleted,
            not_worse_by=margin,
            progress=progress,
            stop=stop,
        )

    return judge
