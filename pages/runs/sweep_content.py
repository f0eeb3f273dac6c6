"""What the tab of sweeps shows, as values: the list, a sweep in words, its runs in a table.

Knows no component and no event.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from lora_engine.runs import RESUMABLE, RunState, RunView, SweepView, state_name
from pages import RUNS, TRAIN
from pages.runs import curves, run_table
from pages.shared import layout
from pages.shared.live import Cell, Column, table_value

MOST_CURVES = 24  # of a sweep in one figure
AXES = ("method.rank", "optimization.learning_rate", "seed")  # always in the table
RESULTS = ("state", "step", "loss", "eval_loss", "elapsed_s")
GOING = (RunState.QUEUED, RunState.RUNNING)

LIST_COLUMNS = (
    Column(translatable("Sweep")),
    Column(translatable("Runs"), layout.count, numeric=True),
    Column(translatable("States")),
    Column(translatable("What varies")),
    Column(translatable("Made")),
    Column(translatable("Id")),
)


@dataclass(frozen=True)
class SweepContent:
    """The values of the tab's parts. fingerprint: changes whenever another part would.

    actions: the names of the buttons that can do something.
    """

    fingerprint: str = ""
    heading: str = ""
    runs: str = ""
    curves: str = ""
    actions: frozenset[str] = frozenset()


def content_of(engine: Engine, view: SweepView) -> SweepContent:
    """Everything that the tab shows of one sweep while it goes on."""
    return SweepContent(
        fingerprint=fingerprint_of(view),
        heading=heading(view),
        runs=runs_value(view),
        curves=curves.held_out(engine, view.runs[:MOST_CURVES]) if view.runs else "",
        actions=possible_actions(view),
    )


def fingerprint_of(view: SweepView) -> str:
    """Changes with the state of a run, and with each row that one logs."""
    rows = [(run.id, run.record.state, run.newest.seq if run.newest else 0) for run in view.runs]
    return hashlib.sha256(repr((view.id, rows)).encode()).hexdigest()[:16]


def possible_actions(view: SweepView) -> frozenset[str]:
    """The names of what can be done to a whole sweep."""
    states = {run.record.state for run in view.runs}
    going, resumable = bool(states & set(GOING)), bool(states & set(RESUMABLE))
    possible = {"pause": going, "cancel": going, "resume": resumable, "delete": view.is_over}
    return frozenset(name for name, is_possible in possible.items() if is_possible)


def heading(view: SweepView) -> str:
    """Name and states, what varies, and what of it is missing; escaped here."""
    told = [tr("{varied}. Made {moment}.", varied=varied(view), moment=moment(view))]
    if len(view.runs) > MOST_CURVES:
        told.append(
            tr(
                "The first {shown} of {count} runs are drawn.",
                shown=MOST_CURVES,
                count=len(view.runs),
            )
        )
    if view.deleted:
        told.append(tr("Deleted since: {names}.", names=", ".join(view.deleted)))
    refused = [
        tr(
            "{run} could not begin: {problem}",
            run=one.name,
            problem=f"{one.problem} {one.remedy}",
        )
        for one in view.refused
    ]
    problem = layout.notes_html([*refused, *([view.problem] if view.problem else [])])
    state = view.runs[0].record.state if len(_counts(view)) == 1 else "mixed"
    return (
        f"<h2>{escape(view.name)} "
        f'<span class="rs-state rs-state-{state}" role="status">{escape(states(view))}</span></h2>'
        f'<p class="rs-run-note">{escape(" ".join(told))}</p>{problem}'
    )


def deletion_question(view: SweepView) -> str:
    words = tr(
        "Delete {name} ({id}) with all its runs ({count}), their curves, checkpoints and adapters? "
        "Nothing brings them back.",
        name=f"“{view.name}”",
        id=view.id,
        count=len(view.runs),
    )
    return f'<p class="rs-run-error">{escape(words)}</p>'


def empty() -> str:
    return layout.empty_state_html(
        tr("No sweep yet"),
        tr(
            "A sweep trains the same rows at several ranks, so that you can see which rank is "
            "enough. Start one on the Train page, or with `python -m lora_engine sweep SPEC.json`."
        ),
        tr("To the Train page"),
        layout.link(TRAIN),
    )


def list_value(views: Sequence[SweepView]) -> str:
    """The live table of all sweeps."""
    rows = [
        (view.name, len(view.runs), states(view), varied(view), moment(view), view.id)
        for view in views
    ]
    return table_value(
        LIST_COLUMNS,
        rows,
        links=[layout.link(RUNS, tab="sweeps", sweep=view.id) for view in views],
        empty=tr("No sweep yet."),
    )


def runs_value(view: SweepView) -> str:
    """The live table of a sweep's runs: what varies, how far each is, why one was stopped."""
    axes = [axis.path for axis in view.spec.axes] if view.spec else []
    wanted = (*AXES, *axes, *RESULTS, *_scores(view))
    keys = [key for key in dict.fromkeys(wanted) if key in run_table.columns()]
    shown = [run_table.columns()[key] for key in keys]
    columns = (
        Column(translatable("Run")),
        *(one.column for one in shown),
        Column(translatable("Why it stopped")),
    )
    rows = [
        (run.record.name, *(one.cell(run) for one in shown), why_stopped(run)) for run in view.runs
    ]
    links = [layout.link(RUNS, run=run.id) for run in view.runs]
    return table_value(columns, rows, links=links, empty=tr("No run of this sweep is left."))


def why_stopped(view: RunView) -> Cell:
    """In words, where the worker ended the run itself or it failed; None for the others."""
    result = view.result
    if result is None:
        return view.problem
    return result.stopped_because or (result.error.problem if result.error else view.problem)


def states(view: SweepView) -> str:
    """How many runs are in which state: '3 finished, 1 running'."""
    counts = [
        tr("{count} {state}", count=count, state=state_name(state))
        for state, count in _counts(view).items()
    ]
    return tr(", ").join(counts) or tr("no run left")


def varied(view: SweepView) -> str:
    """The fields that vary, with their values."""
    if view.spec is None:
        return tr("What varies is not known")
    labels = {key: tr(one.column.label) for key, one in run_table.columns().items()}
    return "; ".join(
        f"{labels.get(axis.path, axis.path)} {', '.join(map(_plain, axis.values))}"
        for axis in view.spec.axes
    )


def moment(view: SweepView) -> str:
    return run_table.moment(view.created_at)


def _scores(view: SweepView) -> tuple[str, ...]:
    """The columns that classifiers have besides."""
    has_scores = any(run.result and run.result.eval_f1 is not None for run in view.runs)
    return ("eval_accuracy", "eval_f1") if has_scores else ()


def _counts(view: SweepView) -> Counter[RunState]:
    return Counter(run.record.state for run in view.runs)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
